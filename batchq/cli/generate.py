"""``batchq generate``: lines of a counter, to try things with."""

from __future__ import annotations

import os
from typing import Final

import click

from batchq.cli.flags import flag, number
from batchq.cli.streams import need, unwritable

_BLOCK: Final = 100_000
"""Lines that are made at once."""

_MOST: Final = 10**15


@click.command()
@click.argument("lines", type=number(0, _MOST), metavar="N")
@flag("start", type=number(0, _MOST), default=1, help="The first line's number.")
def generate(lines: int, start: int) -> None:
    """Print N lines of a counter, from 1 on.

    Exit codes: 0 when all are printed, 1 when they can't be written, 2 for wrong usage, 130
    after Ctrl-C, 141 when whoever reads them has left.
    """
    need(1)
    try:
        _print(start, start + lines)
    except OSError as error:
        raise unwritable(error) from None


def _print(first: int, stop: int) -> None:
    while first < stop:
        last = min(first + _BLOCK, stop)
        block = memoryview(("\n".join(map(str, range(first, last))) + "\n").encode())
        while block:
            block = block[os.write(1, block) :]
        first = last
