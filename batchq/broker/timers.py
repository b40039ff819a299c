"""Deadlines in one heap. Time comes from outside; nothing here looks at a clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

_REBUILD_ABOVE: Final = 64
"""Cancelled timers stay in the heap until they are half of it, and at least this many."""


class Timer:
    """One deadline. ``when`` is in seconds of the caller's clock."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[float], None]) -> None:
        self.when = when
        self.call: Callable[[float], None] | None = call


class Timers:
    """All deadlines of a broker."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._cancelled = 0

    def at(self, when: float, call: Callable[[float], None]) -> Timer:
        """Arms a timer: ``call(now)`` once ``when`` has come. Equal deadlines keep their order."""
        timer = Timer(when, call)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, timer))
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Disarms a timer; one that ran or was disarmed may be given again."""
        if timer is None or timer.call is None:
            return
        timer.call = None
        self._cancelled += 1
        if self._cancelled > _REBUILD_ABOVE and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next(self) -> float | None:
        """Tells the earliest deadline, or None."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Calls what is due, in the order of the deadlines."""
        while (when := self.next()) is not None and when <= now:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is not None:
                call(now)
