"""A queue's lines as a log of blocks: append at the tail, read and drop anywhere.

A block is what was pushed, or several small pushes joined, so that the cost of
holding lines doesn't depend on how they came. Knows nothing of leases or readers.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from batchq import lines
from batchq.model import KIB, Batch

_JOIN_BELOW: Final = 64 * KIB
"""Pushes are joined to blocks of up to this many bytes, so that a block's overhead stays small."""

_TRIM_AFTER: Final = 1024
"""Dropped blocks at the head that are removed from the list at once: removal costs O(length)."""


class Point(NamedTuple):
    """A place between two lines.

    Attributes:
        offset: lines before it.
        position: bytes before it.
    """

    offset: int
    position: int


ORIGIN: Final = Point(0, 0)


class Span(NamedTuple):
    """Consecutive lines, from one point to another."""

    start: Point
    end: Point

    @property
    def lines(self) -> int:
        """How many lines."""
        return self.end.offset - self.start.offset

    @property
    def bytes(self) -> int:
        """How many payload bytes."""
        return self.end.position - self.start.position


class _Block:
    """Consecutive lines in one piece of memory (``pieces`` are joined when they are read)."""

    __slots__ = ("_pieces", "end", "left", "start")

    def __init__(self, start: Point, batch: Batch) -> None:
        self.start = start
        self.end = start
        self.left = 0
        self._pieces: list[bytes] = []
        self.add(batch)

    def add(self, batch: Batch) -> None:
        self._pieces.append(batch.data)
        self.left += batch.lines
        self.end = Point(self.end.offset + batch.lines, self.end.position + len(batch.data))

    def joins(self, batch: Batch) -> bool:
        size = self.end.position - self.start.position + len(batch.data)
        return self.left > 0 and size <= _JOIN_BELOW

    @property
    def data(self) -> bytes:
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def drop(self) -> None:
        self._pieces = [b""]


class Log:
    """The lines of one life that are not done with yet.

    Args:
        start: where the first line will stand.
    """

    def __init__(self, start: Point = ORIGIN) -> None:
        self.end = start
        self._blocks: list[_Block] = []
        self._head = 0

    def append(self, batch: Batch) -> None:
        """Adds lines at the end."""
        if not batch.lines:
            return
        last = self._blocks[-1] if self._blocks else None
        if last is not None and last.joins(batch):
            last.add(batch)
        else:
            self._blocks.append(_Block(self.end, batch))
        self.end = self._blocks[-1].end

    def cut(self, span: Span, max_lines: int | None, max_bytes: int) -> Point:
        """Finds how far a batch may go.

        Args:
            span: lines that are in the log, at least one.
            max_lines: at most this many lines, at least 1, or None for no limit.
            max_bytes: at most this many bytes, but always at least one line.

        Returns:
            The point behind the last line that fits.
        """
        point = span.start
        lines_left = span.lines if max_lines is None else max_lines
        bytes_left = max_bytes
        index = self._index(point.offset)
        while point.offset < span.end.offset and lines_left > 0:
            block = self._blocks[index]
            end = min(block.end, span.end)
            fresh = Span(point, end)
            if fresh.lines <= lines_left and fresh.bytes <= bytes_left:
                point = end
                lines_left -= fresh.lines
                bytes_left -= fresh.bytes
                index += 1
                continue
            origin = block.start.position
            start, stop = point.position - origin, end.position - origin
            at, count = lines.cut(block.data, start, stop, lines_left, bytes_left)
            if count == 0 and point == span.start:
                at, count = lines.find_end(block.data, 1, start, stop), 1
            return Point(point.offset + count, origin + at)
        return point

    def read(self, span: Span) -> bytes:
        """Gives the bytes of lines that are in the log."""
        pieces: list[bytes | memoryview] = []
        index = self._index(span.start.offset)
        position = span.start.position
        while position < span.end.position:
            block = self._blocks[index]
            end = min(block.end.position, span.end.position)
            if position == block.start.position and end == block.end.position:
                pieces.append(block.data)
            else:
                origin = block.start.position
                pieces.append(memoryview(block.data)[position - origin : end - origin])
            position = end
            index += 1
        if len(pieces) == 1 and isinstance(pieces[0], bytes):
            return pieces[0]
        return b"".join(pieces)

    def drop(self, span: Span) -> None:
        """Is done with lines; each may be dropped once."""
        index = self._index(span.start.offset)
        offset = span.start.offset
        while offset < span.end.offset:
            block = self._blocks[index]
            end = min(block.end.offset, span.end.offset)
            block.left -= end - offset
            if block.left == 0:
                block.drop()
            offset = end
            index += 1
        self._trim()

    def _index(self, offset: int) -> int:
        """Finds the block that holds a line."""
        head = self._head
        if head < len(self._blocks) and offset < self._blocks[head].end.offset:
            return head
        return bisect_right(self._blocks, offset, lo=head, key=_start_offset) - 1

    def _trim(self) -> None:
        blocks = self._blocks
        while self._head < len(blocks) and blocks[self._head].left == 0:
            self._head += 1
        if self._head == len(blocks) or (
            self._head >= _TRIM_AFTER and self._head * 2 >= len(blocks)
        ):
            del blocks[: self._head]
            self._head = 0


def _start_offset(block: _Block) -> int:
    return block.start.offset
