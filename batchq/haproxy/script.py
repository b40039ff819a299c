"""Writes the shell script that moves queues from shard to shard, one ``batchq copy`` each.

It runs while HAProxy answers these queues' calls with 503, so that nobody else writes or
reads them. A source is closed first: only a closed queue has an end that says that no line
is left and none is out on a lease.
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
        closed: it is closed, and is to be closed there too.
        lines: lines that are in it, for the reader of the script.
        leased: those of them that are out on leases.
    """

    queue: str
    source: str
    target: str
    closed: bool
    lines: int
    leased: int


_HEAD: Final = """\
#!/bin/sh
# Moves queues from shard to shard, while HAProxy holds them. Written by
# batchq haproxy moves --copies; it needs batchq and curl. Keep it until it ends with 0:
# when it is run again, what was moved is skipped.
set -u
failed=0

move() { # move QUEUE FROM TO open|closed
    found=$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$2/queues/$1")
    if [ "$found" = 404 ]; then return 0; fi
    keep=
    if [ "$4" = open ]; then
        # Closed, it has an end: no line is left behind.
        curl -fsS -o /dev/null --max-time 10 -X POST "$2/close/$1" || return 1
        keep=--keep-open
    fi
    batchq copy --quiet --shared $keep "$2/$1" "$3/$1" || return 1
    curl -fsS --max-time 10 -X DELETE "$2/queues/$1"
}

try() {
    if move "$@"; then echo "$1: moved"; else echo "$1: not moved" >&2; failed=1; fi
}
"""


def script(queues: Sequence[Held]) -> str:
    """Writes the script; names and URLs need no quotes, as they are what they are."""
    lines = [_HEAD]
    for one in queues:
        state = "closed" if one.closed else "open"
        lines.append(f"# {one.lines} lines, {one.leased} of them out on leases")
        lines.append(f"try {one.queue} {one.source} {one.target} {state}")
    lines.append("exit $failed")
    return "\n".join(lines) + "\n"
