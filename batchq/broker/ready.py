"""Which lines are ready: disjoint runs of consecutive offsets, in order.

A queue without leases has one run, from its first line to its last. A lease takes
from the front of the first; one that is given back puts its lines in their old place.

Runs that follow each other without a gap, and differ in how often they were handed out, make
a stretch. What a pull may take is the first stretch: its end is known without a walk over its
runs, however many leases left them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from batchq.broker.log import Point, Span


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive lines, and how often each of them was handed out."""

    span: Span
    deliveries: int


class Ready:
    """The ready lines of one life.

    Attributes:
        lines: how many lines are ready.
        bytes: their payload bytes.
    """

    __slots__ = ("_stretches", "bytes", "lines")

    def __init__(self) -> None:
        self._stretches: list[list[Run]] = []
        self.lines = 0
        self.bytes = 0

    def first(self) -> Span | None:
        """Gives the consecutive lines that start at the lowest ready one."""
        if not self._stretches:
            return None
        runs = self._stretches[0]
        return Span(runs[0].span.start, runs[-1].span.end)

    def put(self, span: Span, deliveries: int) -> None:
        """Makes lines ready.

        Args:
            span: lines that are not ready now.
            deliveries: how often they were handed out, 0 for fresh ones.
        """
        if not span.lines:
            return
        self.lines += span.lines
        self.bytes += span.bytes
        stretches = self._stretches
        at = bisect_left(stretches, span.start, key=_start)
        runs = [Run(span, deliveries)]
        if at < len(stretches) and _start(stretches[at]) == span.end:
            runs = _joined(runs, stretches.pop(at))
        if at and stretches[at - 1][-1].span.end == span.start:
            at -= 1
            runs = _joined(stretches.pop(at), runs)
        stretches.insert(at, runs)

    def take(self, end: Point) -> tuple[Run, ...]:
        """Takes the lines from the lowest ready one up to a point that follows without a gap.

        Returns:
            The lines, apart by how often they were handed out.
        """
        if not self._stretches:
            return ()
        runs = self._stretches[0]
        whole = 0
        while whole < len(runs) and runs[whole].span.end <= end:
            whole += 1
        taken = runs[:whole]
        del runs[:whole]
        if not runs:
            del self._stretches[0]
        elif runs[0].span.start < end:
            run = runs[0]
            runs[0] = Run(Span(end, run.span.end), run.deliveries)
            taken.append(Run(Span(run.span.start, end), run.deliveries))
        for run in taken:
            self.lines -= run.span.lines
            self.bytes -= run.span.bytes
        return tuple(taken)


def _start(runs: list[Run]) -> Point:
    return runs[0].span.start


def _joined(fore: list[Run], hind: list[Run]) -> list[Run]:
    """Makes one stretch of two that follow each other; the longer one is kept, and grows."""
    last, first = fore[-1], hind[0]
    if last.deliveries == first.deliveries:
        joint = Run(Span(last.span.start, first.span.end), last.deliveries)
        if len(fore) < len(hind):
            hind[0] = joint
            fore.pop()
        else:
            fore[-1] = joint
            del hind[0]
    if len(fore) < len(hind):
        hind[:0] = fore
        return hind
    fore += hind
    return fore
