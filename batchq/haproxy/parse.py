"""Reads the layout back from a configuration that ``render`` wrote.

The lines that are read are those that HAProxy obeys; comments are not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from batchq.haproxy.front import Shard
from batchq.haproxy.layout import Layout, LayoutError

_MODULO: Final = re.compile(r"set-var\(txn\.slot\) var\(txn\.queue\),xxh32,mod\((\d{1,9})\)")
_SLOTS: Final = re.compile(r"acl slots_(\S+) var\(txn\.slot\) -m int (.+)")
_STAYS: Final = re.compile(r"acl stays_(\S+) var\(txn\.queue\) -m str (.+)")
_HELD: Final = re.compile(r"acl held_(?:slot|queue) ")
_SERVER: Final = re.compile(r"server (\S+) (\S+):(\d{1,5})\b")
_RUN: Final = re.compile(r"(\d{1,9})(?::(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Found:
    """What a configuration says.

    Attributes:
        layout: where the queues live.
        shards: the servers by name.
        holds: queues are being moved.
    """

    layout: Layout
    shards: dict[str, Shard]
    holds: bool


def read(text: str) -> Found:
    """Reads a configuration.

    Raises:
        LayoutError: it is none of ours, or a slot has no shard, or two.
    """
    owners: list[str | None] = []
    stays: dict[str, str] = {}
    shards: dict[str, Shard] = {}
    holds = False
    modulo = _MODULO.search(text)
    if modulo is not None:
        owners = [None] * int(modulo[1])
    for line in map(str.strip, text.splitlines()):
        if match := _SLOTS.fullmatch(line):
            _own(owners, match[1], match[2].split())
        elif match := _STAYS.fullmatch(line):
            stays.update(dict.fromkeys(match[2].split(), match[1]))
        elif match := _SERVER.match(line):
            host = match[2].removeprefix("[").removesuffix("]")
            shards[match[1]] = Shard(match[1], host, int(match[3]))
        elif _HELD.match(line):
            holds = True
    if not owners or not shards:
        raise LayoutError("it was not written by batchq haproxy: it maps no slots")
    settled = tuple(owner for owner in owners if owner is not None)
    if len(settled) != len(owners):
        raise LayoutError(f"slot {owners.index(None)} has no shard")
    for name in {*settled, *stays.values()} - shards.keys():
        raise LayoutError(f"there are slots or queues of shard {name}, which has no server")
    return Found(Layout(settled, stays), shards, holds)


def _own(owners: list[str | None], shard: str, words: list[str]) -> None:
    for word in words:
        match = _RUN.fullmatch(word)
        low = int(match[1]) if match else len(owners)
        high = int(match[2] or match[1]) if match else low
        if match is None or high >= len(owners):
            raise LayoutError(f"{word!r} are not slots of shard {shard}")
        for slot in range(low, high + 1):
            if owners[slot] is not None:
                raise LayoutError(f"slot {slot} has two shards: {owners[slot]} and {shard}")
            owners[slot] = shard
