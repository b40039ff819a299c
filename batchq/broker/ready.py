"""Which lines are ready: disjoint runs of consecutive offsets, in order.

A queue without leases has one run, from its first line to its last. A lease takes
from the front of the first; one that is given back puts its lines in their old place.
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

    __slots__ = ("_runs", "bytes", "lines")

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self.lines = 0
        self.bytes = 0

    def first(self) -> Span | None:
        """Gives the consecutive lines that start at the lowest ready one."""
        if not self._runs:
            return None
        start, end = self._runs[0].span
        for run in self._runs[1:]:
            if run.span.start != end:
                break
            end = run.span.end
        return Span(start, end)

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
        runs = self._runs
        at = bisect_left(runs, span.start, key=_start)
        start, end = span
        if at < len(runs) and runs[at].span.start == end and runs[at].deliveries == deliveries:
            end = runs.pop(at).span.end
        if at and runs[at - 1].span.end == start and runs[at - 1].deliveries == deliveries:
            at -= 1
            start = runs.pop(at).span.start
        runs.insert(at, Run(Span(start, end), deliveries))

    def take(self, end: Point) -> tuple[Run, ...]:
        """Takes the lines from the lowest ready one up to a point that follows without a gap.

        Returns:
            The lines, apart by how often they were handed out.
        """
        runs = self._runs
        taken = []
        while runs and runs[0].span.start < end:
            run = runs[0]
            if run.span.end <= end:
                del runs[0]
            else:
                runs[0] = Run(Span(end, run.span.end), run.deliveries)
                run = Run(Span(run.span.start, end), run.deliveries)
            taken.append(run)
            self.lines -= run.span.lines
            self.bytes -= run.span.bytes
        return tuple(taken)


def _start(run: Run) -> Point:
    return run.span.start
