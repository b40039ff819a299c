"""Time as what bounds a run: shares of what is left, and rounds while they fit.

A loaded machine then gets fewer rounds, not a longer run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Budget:
    """Seconds that a run has, and the share of them that its present part has."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock.

        Args:
            seconds: What there is in all.
            clock: Tells the time in seconds; only differences count.
        """
        self._clock = clock
        self._started = clock()
        self._deadline = self._started + seconds

    def used(self) -> float:
        """Tell how many seconds the run has taken so far."""
        return self._clock() - self._started

    def left(self) -> float:
        """Tell how many seconds the present part still has; below zero when it is overdue."""
        return self._deadline - self._clock()

    @contextmanager
    def share(self, fraction: float) -> Iterator[None]:
        """Give the block a fraction of what is left; what it does not use falls back."""
        outer = self._deadline
        self._deadline = self._clock() + max(0.0, self.left()) * fraction
        try:
            yield
        finally:
            self._deadline = outer

    def rounds(self, least: int, most: int) -> Iterator[int]:
        """Count rounds for as long as one more, as long as the longest, fits.

        Args:
            least: So many in any case: one sample alone has no spread.
            most: Never more than these.
        """
        longest = 0.0
        for number in range(most):
            if number >= least and self.left() < longest:
                return
            began = self._clock()
            yield number
            longest = max(longest, self._clock() - began)
