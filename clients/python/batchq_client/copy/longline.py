"""Finds a line that is too long for a request, without reading the whole file.

In each window of the limit's size one line end is enough: the lines inside it fit. It is
looked for from the window's end backwards, so that a file of short lines costs one small
read for each window.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

_NEWLINE: Final = b"\n"
_FIRST: Final = 4 * 1024
_BLOCK: Final = 1024 * 1024
_PATIENCE: Final = 1024 * 1024 * 1024
"""Bytes of a stream that are read to tell how long a line is: it may never end."""


@dataclass(frozen=True, slots=True)
class LongLine:
    r"""A line that is too long.

    Attributes:
        line: its number, from 1.
        length: its bytes, without ``\n``.
    """

    line: int
    length: int


def find_long_line(fd: int, start: int, limit: int, last: int) -> LongLine | None:
    r"""Looks for the first line that is longer than the limit, its ``\n`` included.

    Args:
        fd: a regular file; its position is left as it is.
        start: position of the first line's first byte.
        limit: bytes; at least 1.
        last: bytes of a last line that has no ``\n``; at most as many.
    """
    begin = start
    while True:
        end = _last_end(fd, begin, begin + limit)
        if end is None:
            return None
        if end == begin:
            length = _line_length(fd, begin)
            if length <= last and _ends_file(fd, begin + length):
                return None
            return LongLine(_count(fd, start, begin) + 1, length)
        begin = end


def measure_line(fd: int, held: int) -> int | None:
    r"""Reads on to the end of a line, for its length.

    Args:
        fd: a descriptor at some place within the line; it is read from.
        held: bytes of the line before that.

    Returns:
        The line's bytes without ``\n``, or None where no end is in sight.
    """
    while held < _PATIENCE:
        block = os.read(fd, _BLOCK)
        if not block:
            return held
        found = block.find(_NEWLINE)
        if found >= 0:
            return held + found
        held += len(block)
    return None


def _last_end(fd: int, begin: int, stop: int) -> int | None:
    r"""Position behind the last ``\n`` of a window; its begin where there is none in it.

    None where the file ends before the window does.
    """
    size = _FIRST
    while True:
        at = max(begin, stop - size)
        block = os.pread(fd, min(size, stop - at), at)
        if at + len(block) < stop:
            return None
        found = block.rfind(_NEWLINE)
        if found >= 0:
            return at + found + 1
        if at == begin:
            return begin
        stop, size = at, _BLOCK


def _line_length(fd: int, begin: int) -> int:
    at = begin
    while block := os.pread(fd, _BLOCK, at):
        found = block.find(_NEWLINE)
        if found >= 0:
            return at + found - begin
        at += len(block)
    return at - begin


def _ends_file(fd: int, at: int) -> bool:
    return not os.pread(fd, 1, at)


def _count(fd: int, start: int, stop: int) -> int:
    lines = 0
    while start < stop:
        block = os.pread(fd, min(_BLOCK, stop - start), start)
        if not block:
            break
        lines += block.count(_NEWLINE)
        start += len(block)
    return lines
