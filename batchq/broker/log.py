"""A queue's lines as a log of blocks: append at the tail, read and drop anywhere.

A block is what was pushed, or several small pushes joined, so that the cost of
holding lines doesn't depend on how they came. Where the store keeps the lines too, a
block may be a gap: lines that are held, but not in memory. They are asked for and
filled in. Knows nothing of leases or readers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

from batchq import lines
from batchq.broker.cache import Cache
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


class Missing(NamedTuple):
    """Lines that have to be in memory first.

    Attributes:
        start: where they begin.
        bytes: how many bytes of them are needed; at least one line.
    """

    start: Point
    bytes: int


class _Block:
    """Consecutive lines, in one piece of memory (joined when they are read) or a gap.

    Attributes:
        start, end: which lines; those that are done with are left out in front.
        origin: position of the first byte in memory.
        left: how many of the lines are not done with; in a gap, all of them.
        gap: they are not in memory.
    """

    __slots__ = ("_pieces", "end", "gap", "left", "origin", "start")

    def __init__(self, start: Point, end: Point, data: bytes | None) -> None:
        self.start = start
        self.end = end
        self.origin = start.position
        self.left = end.offset - start.offset
        self.gap = data is None
        self._pieces: list[bytes] = [] if data is None else [data]

    def add(self, batch: Batch) -> None:
        if not self.gap:
            self._pieces.append(batch.data)
        self.left += batch.lines
        self.end = _after(self.end, batch)

    def joins(self, batch: Batch) -> bool:
        return self.left > 0 and self.size + len(batch.data) <= _JOIN_BELOW and not self.gap

    @property
    def data(self) -> bytes:
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    @property
    def size(self) -> int:
        return self.end.position - self.origin

    @property
    def whole(self) -> bool:
        return self.left == self.end.offset - self.start.offset

    def be_done(self, start: int, end: Point) -> None:
        """Is done with lines from an offset to a point."""
        self.left -= end.offset - start
        if self.left == 0:
            self._pieces = [b""]
            self.gap = False
        elif start == self.start.offset:
            self.start = end

    def let_go(self) -> None:
        self._pieces = []
        self.gap = True


class Log:
    """The lines of one life that are not done with yet.

    Args:
        start: where the first line will stand.
        cache: what bounds the bytes in memory, or None where all stay.

    Attributes:
        end: where the next line will stand.
        gaps: how many blocks are not in memory.
    """

    def __init__(self, start: Point = ORIGIN, cache: Cache | None = None) -> None:
        self.end = start
        self.gaps = 0
        self._cache = cache
        self._held = 0  # bytes in memory, counted only for a cache
        self._blocks: list[_Block] = []
        self._head = 0

    def append(self, batch: Batch) -> None:
        """Adds lines at the end."""
        if not batch.lines:
            return
        last = self._blocks[-1] if self._blocks else None
        if self._cache is not None and not self._cache.admit(self, len(batch.data)):
            self._append_gap(Span(self.end, _after(self.end, batch)))
            return
        self._count(len(batch.data))
        if last is not None and last.joins(batch) and last.end == self.end:
            last.add(batch)
            self.end = last.end
            return
        end = _after(self.end, batch)
        self._blocks.append(_Block(self.end, end, batch.data))
        self.end = end

    def restore(self, spans: Iterable[Span], end: Point) -> None:
        """Begins with lines that are elsewhere: disjoint and in order, before ``end``."""
        for span in spans:
            self._append_gap(span)
        self.end = end

    def forget(self) -> None:
        """Lets go of everything: the life is over."""
        if self._cache is not None:
            self._cache.forget(self, self._held)
            self._held = 0
        self._blocks.clear()
        self._head = self.gaps = 0

    def cut(self, span: Span, max_lines: int | None, max_bytes: int) -> Point | Missing:
        """Finds how far a batch may go.

        Args:
            span: lines that are in the log, at least one.
            max_lines: at most this many lines, at least 1, or None for no limit.
            max_bytes: at most this many bytes, but always at least one line.

        Returns:
            The point behind the last line that fits, or what has to be in memory to tell.
        """
        point = span.start
        lines_left = span.lines if max_lines is None else max_lines
        bytes_left = max_bytes
        index = self._index(point.offset)
        while point.offset < span.end.offset and lines_left > 0:
            if bytes_left <= 0 and point != span.start:
                break
            block = self._blocks[index]
            end = min(block.end, span.end)
            fresh = Span(point, end)
            if block.gap:
                # All of the batch: what of it is in memory now may have to make room.
                return Missing(point, min(bytes_left, span.end.position - point.position))
            if fresh.lines <= lines_left and fresh.bytes <= bytes_left:
                point = end
                lines_left -= fresh.lines
                bytes_left -= fresh.bytes
                index += 1
                continue
            origin = block.origin
            start, stop = point.position - origin, end.position - origin
            at, count = lines.cut(block.data, start, stop, lines_left, bytes_left)
            if count == 0 and point == span.start:
                at, count = lines.find_end(block.data, 1, start, stop), 1
            return Point(point.offset + count, origin + at)
        return point

    def missing(self, span: Span) -> Missing | None:
        """Tells the first of lines that are in the log which are not in memory."""
        if not self.gaps:
            return None
        index = self._index(span.start.offset)
        while index < len(self._blocks) and self._blocks[index].start < span.end:
            block = self._blocks[index]
            start = max(block.start, span.start)
            if block.gap and start < span.end:
                return Missing(start, span.end.position - start.position)
            index += 1
        return None

    def read(self, span: Span) -> bytes:
        """Gives the bytes of lines that are in the log and in memory."""
        pieces: list[bytes | memoryview] = []
        index = self._index(span.start.offset)
        position = span.start.position
        while position < span.end.position:
            block = self._blocks[index]
            end = min(block.end.position, span.end.position)
            if position == block.origin and end == block.end.position:
                pieces.append(block.data)
            else:
                origin = block.origin
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
            end = min(block.end, span.end)
            if block.gap:
                index += self._drop_in_gap(index, span)
            else:
                block.be_done(offset, end)
                if block.left == 0:
                    self._count(-block.size)
            offset = end.offset
            index += 1
        self._trim()

    # Gaps

    def fill(self, span: Span, data: bytes) -> None:
        """Puts lines in memory, as far as they are missing here."""
        index = max(self._index(span.start.offset), self._head)
        while index < len(self._blocks) and self._blocks[index].start < span.end:
            gap = self._blocks[index]
            part = Span(max(gap.start, span.start), min(gap.end, span.end))
            if gap.gap and part.lines > 0:
                index += self._fill_gap(index, part, span.start.position, data)
            index += 1

    def lacks(self, point: Point) -> bool:
        """Tells whether the line behind a point is held, but not in memory."""
        index = self._index(point.offset)
        if not self._head <= index < len(self._blocks):
            return False
        block = self._blocks[index]
        return block.gap and block.start <= point < block.end

    def make_room(self, size: int) -> None:
        """Sees to it that lines of this many bytes may be filled in."""
        if self._cache is not None:
            self._cache.make_room(self, size)

    def touch(self) -> None:
        """Remembers that the lines are being read."""
        if self._cache is not None:
            self._cache.touch(self)

    def evict(self) -> int:
        """Lets go of the newest block that can be; gives its bytes, 0 where there is none."""
        for index in range(len(self._blocks) - 1, self._head - 1, -1):
            block = self._blocks[index]
            if not block.gap and block.left and block.whole:
                block.let_go()
                self.gaps += 1
                self._count(-block.size)
                size = block.size
                self._merge(index)
                return size
        return 0

    def _count(self, size: int) -> None:
        """Counts bytes that came to memory (or left it)."""
        if self._cache is not None:
            self._held += size
            self._cache.used += size

    def _append_gap(self, span: Span) -> None:
        last = self._blocks[-1] if self._blocks else None
        if last is not None and last.gap and last.end == span.start:
            last.end = span.end
            last.left += span.lines
        else:
            self._blocks.append(_Block(span.start, span.end, None))
            self.gaps += 1
        self.end = span.end

    def _merge(self, index: int) -> None:
        """Joins a gap with those beside it."""
        blocks = self._blocks
        for at in (index, index - 1):
            if self._head <= at and at + 1 < len(blocks):
                first, second = blocks[at], blocks[at + 1]
                if first.gap and second.gap and first.end == second.start:
                    first.end = second.end
                    first.left += second.left
                    del blocks[at + 1]
                    self.gaps -= 1

    def _drop_in_gap(self, index: int, span: Span) -> int:
        """Takes lines out of a gap; gives how many blocks stand in its place beyond one."""
        gap = self._blocks[index]
        done = _Block(max(gap.start, span.start), min(gap.end, span.end), b"")
        done.be_done(done.start.offset, done.end)
        return self._replace(index, [(gap.start, done.start), done, (done.end, gap.end)])

    def _fill_gap(self, index: int, part: Span, origin: int, data: bytes) -> int:
        """Fills a part of a gap; gives how many blocks stand in its place beyond one."""
        gap = self._blocks[index]
        if part.bytes != len(data):
            data = data[part.start.position - origin : part.end.position - origin]
        self._count(len(data))
        block = _Block(part.start, part.end, data)
        return self._replace(index, [(gap.start, part.start), block, (part.end, gap.end)])

    def _replace(self, index: int, parts: list[_Block | tuple[Point, Point]]) -> int:
        """Puts blocks in the place of a gap; pairs of points are gaps, where not empty."""
        fresh = []
        for part in parts:
            if isinstance(part, _Block):
                fresh.append(part)
            elif part[0] < part[1]:
                fresh.append(_Block(part[0], part[1], None))
        self._blocks[index : index + 1] = fresh
        more = len(fresh) - 1
        self.gaps += more - 1
        return more

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


def _after(point: Point, batch: Batch) -> Point:
    return Point(point.offset + batch.lines, point.position + len(batch.data))


def _start_offset(block: _Block) -> int:
    return block.start.offset
