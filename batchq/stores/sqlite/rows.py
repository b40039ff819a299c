"""What is known of each life's rows without looking at the file.

The writer holds one ``LifeRow`` a life and changes copies of them, which take their
place when a transaction has been committed. Pure: no database here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace

from batchq.broker import Closing, Point, Span
from batchq.errors import StoreUnavailable
from batchq.stores.sqlite.schema import MAX_LIVES

ORIGIN = Point(0, 0)


@dataclass(slots=True)
class LifeRow:
    """One life as it is in the file.

    Attributes:
        id: the life's number in the file.
        name: the queue's name.
        queue_id: the ``Queue-Id``.
        head: all lines before it are done with.
        tail: where the next line will stand.
        done: what is done with beyond the head: disjoint, in order, apart from each other.
        closed: how it was closed, or None.
        over: deleted.
        ended_at: Unix time at which it was drained or deleted, or None.
    """

    id: int
    name: str
    queue_id: str
    head: Point = ORIGIN
    tail: Point = ORIGIN
    done: list[Span] = field(default_factory=list)
    closed: Closing | None = None
    over: bool = False
    ended_at: float | None = None

    def copy(self) -> LifeRow:
        """Gives a copy to change."""
        return replace(self, done=list(self.done))

    @property
    def drained(self) -> bool:
        """Closed, with all lines done with."""
        return self.closed is not None and self.head == self.tail

    @property
    def left(self) -> list[Span]:
        """The lines that are not done with: disjoint, in order."""
        left, start = [], self.head
        for span in self.done:
            left.append(Span(start, span.start))
            start = span.end
        if start < self.tail:
            left.append(Span(start, self.tail))
        return left

    def be_done(self, span: Span) -> tuple[Span, list[Span]]:
        """Is done with lines.

        Args:
            span: lines that are not done with.

        Returns:
            All consecutive lines that are done with now, these among them, and those spans
            of ``done`` that are part of it and stand there no more. It stands there itself
            unless it reaches the head.
        """
        at = bisect_left(self.done, span.start, key=_start)
        start, end = span
        gone = []
        if at < len(self.done) and self.done[at].start == end:
            gone.append(self.done[at])
            end = self.done.pop(at).end
        if at and self.done[at - 1].end == start:
            at -= 1
            gone.append(self.done[at])
            start = self.done.pop(at).start
        whole = Span(start, end)
        if start == self.head:
            self.head = end
        else:
            self.done.insert(at, whole)
        return whole, gone

    def be_undone(self, span: Span) -> tuple[list[Span], list[Span]]:
        """Takes back that lines are done with.

        Args:
            span: lines that are done with; at least one.

        Returns:
            Those spans of ``done`` that stand there no more, and those that do since now.
        """
        if span.start < self.head:
            fresh = [Span(span.end, self.head)] if span.end != self.head else []
            self.head = span.start
            self.done[:0] = fresh
            return [], fresh
        at = bisect_right(self.done, span.start, key=_start) - 1
        whole = self.done[at]
        around = (Span(whole.start, span.start), Span(span.end, whole.end))
        fresh = [part for part in around if part.lines]
        self.done[at : at + 1] = fresh
        return [whole], fresh


class LifeRows:
    """All lives in the file, by ``Queue-Id``, and the numbers in use."""

    def __init__(self) -> None:
        self.by_queue_id: dict[str, LifeRow] = {}
        self.garbage: set[int] = set()
        self._used: set[int] = set()
        self._last = 0

    def add(self, row: LifeRow) -> None:
        """Takes a row, in place of an older one of this life."""
        self.by_queue_id[row.queue_id] = row
        self._used.add(row.id)

    def remove(self, queue_id: str) -> None:
        """Forgets a life; its number is free unless blocks of it are left."""
        row = self.by_queue_id.pop(queue_id, None)
        if row is not None and row.id not in self.garbage:
            self._used.discard(row.id)

    def leave_garbage(self, number: int) -> None:
        """Notes that blocks of a life are to be removed."""
        self.garbage.add(number)
        self._used.add(number)

    def collected(self, number: int) -> None:
        """Notes that no block of a life is left."""
        self.garbage.discard(number)
        if all(row.id != number for row in self.by_queue_id.values()):
            self._used.discard(number)

    @property
    def used(self) -> int:
        """How many numbers are in use."""
        return len(self._used)

    def free_number(self, taken: set[int]) -> int:
        """Gives a number for a new life, one that was not used lately.

        Args:
            taken: numbers that the transaction at hand has given.
        """
        for step in range(1, MAX_LIVES + 1):
            number = (self._last + step - 1) % MAX_LIVES + 1
            if number not in self._used and number not in taken:
                self._last = number
                return number
        raise StoreUnavailable(f"the file holds {MAX_LIVES} lives, as many as it can")


def _start(span: Span) -> Point:
    return span.start
