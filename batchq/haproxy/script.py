"""Writes the shell script that moves queues from shard to shard, one ``batchq haproxy move`` each.

It runs while HAProxy answers these queues' calls with 503, so that nobody else writes or
reads them. All that is known of a move is in the shards: the script may be run again, and
written anew, whatever became of it before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Held:
    """A queue that is to move.

    Attributes:
        queue: its name.
        source: the URL of the shard that has it.
        target: the URL of the shard that is to have it.
        lines: lines that are in it, for the reader of the script.
        leased: those of them that are out on leases.
    """

    queue: str
    source: str
    target: str
    lines: int
    leased: int


_HEAD: Final = """\
#!/bin/sh
# Moves queues from shard to shard, while HAProxy holds them. Written by
# batchq haproxy moves --copies. When it does not end with 0, run it again: what was moved is
# skipped, and what was not is still whole where it was.
set -u
failed=0

move() { # move QUEUE FROM TO
    batchq haproxy move "$@" || failed=1
}
"""


def script(queues: Sequence[Held]) -> str:
    """Writes the script; names and URLs need no quotes, as they are what they are."""
    lines = [_HEAD]
    for one in queues:
        lines.append(f"# {one.lines} lines, {one.leased} of them out on leases")
        lines.append(f"move {one.queue} {one.source} {one.target}")
    lines.append("exit $failed")
    return "\n".join(lines) + "\n"
