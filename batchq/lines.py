r"""Bytes and lines: count them, cut after one, find the n-th.

A payload is a block of lines, each followed by ``\n``. All functions work on the
block as it is; none makes an object for a line.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from batchq.model import KIB, Batch

NEWLINE: Final = b"\n"

_STRIDE: Final = 16 * 1024
"""Bytes to count at a time when looking for the n-th line end: a count is far quicker
than a search for each, and what is counted past the goal is bounded by this."""


_FEW: Final = 8 * KIB
"""Bytes below which ``bytes.count`` is quicker than what numpy costs to begin with."""


def count(data: bytes | memoryview) -> int:
    """Counts the lines of a payload.

    On 1 MiB numpy's comparison takes 65 us where ``bytes.count`` takes 350 to 480, which
    would be a third of what a push costs in all.
    """
    if len(data) < _FEW:
        return bytes(data).count(NEWLINE)
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(NEWLINE)))


def batch_of(body: bytes) -> Batch:
    r"""Makes a batch of a pushed body: adds a missing last ``\n``, counts the lines.

    An empty body is a batch of no lines.
    """
    if body and not body.endswith(NEWLINE):
        body += NEWLINE
    return Batch(body, count(body))


def find_end(data: bytes, lines: int, start: int, stop: int) -> int:
    r"""Finds where the n-th line ends.

    Args:
        data: a payload.
        lines: n, at least 1.
        start: index of a line's first byte.
        stop: index behind the last byte to look at.

    Returns:
        The index behind the n-th ``\n`` at or after ``start``, or -1 where there are
        fewer before ``stop``.
    """
    while start < stop:
        stride = min(start + _STRIDE, stop)
        found = data.count(NEWLINE, start, stride)
        if found >= lines:
            for _ in range(lines):
                start = data.index(NEWLINE, start) + 1
            return start
        lines -= found
        start = stride
    return -1


def cut(data: bytes, start: int, stop: int, max_lines: int, max_bytes: int) -> tuple[int, int]:
    """Finds how many whole lines fit.

    Args:
        data: a payload.
        start: index of a line's first byte.
        stop: index behind a line's last byte.
        max_lines: at most this many lines.
        max_bytes: at most this many bytes.

    Returns:
        The index behind the last line that fits, and how many lines do: possibly none.
    """
    end = stop
    if start + max_bytes < stop:
        end = data.rfind(NEWLINE, start, start + max_bytes) + 1
        if end == 0:
            return start, 0
    by_lines = find_end(data, max_lines, start, end) if max_lines > 0 else start
    if by_lines != -1:
        return by_lines, max_lines
    return end, count(memoryview(data)[start:end])


def valid_utf8(data: bytes) -> int:
    r"""Tells how far a payload is UTF-8.

    Returns:
        The index behind the last line before the first line that is not UTF-8. No
        sequence of UTF-8 spans a ``\n`` (RFC 3629, 3), so lines can be judged together.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data.rfind(NEWLINE, 0, error.start) + 1
    return len(data)
