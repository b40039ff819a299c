"""Work in short steps: a generator that pauses wherever others may have their turn.

Reading a body of JSON at once makes an object for each of its lines and holds the
interpreter as long as that takes: 65 MB of short strings cost 2.5 GB and 3 seconds in
which no other request was served. A thread would not help, as the parsers do not let go
of the interpreter either. In steps, memory and pause are those of one step.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeVar

from batchq.errors import Unprocessable
from batchq.lines import NEWLINE
from batchq.model import KIB, MIB

_T = TypeVar("_T")

Steps = Generator[None, None, _T]
"""Yields after each step, and returns the result."""

STEP: Final = 32 * KIB
"""Bytes that are worked on at a time: about a millisecond where every line is empty."""


UNBROKEN: Final = MIB
"""Bytes of payload that are written without a pause: no client is seen to leave between the
taking of so many lines and their answer. Only a line that is longer has pauses."""


def block_of(lines: list[bytes], before: int) -> bytes:
    r"""Joins the lines of a step into a piece of payload.

    Args:
        lines: at least one.
        before: lines of the batch that came before them.

    Raises:
        Unprocessable: one of them holds ``\n``.
    """
    block = NEWLINE.join(lines) + NEWLINE
    if block.count(NEWLINE) != len(lines):
        index = next(index for index, line in enumerate(lines) if NEWLINE in line)
        raise holds_newline(before + index)
    return block


def holds_newline(index: int) -> Unprocessable:
    r"""The refusal of a line that holds ``\n``."""
    return Unprocessable(
        rf"line {index} (from 0) holds \n, which ends a line: cut there, or send text/plain"
    )
