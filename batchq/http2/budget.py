"""How much of something a peer may do: a bucket of tokens that refills with time."""

from __future__ import annotations


class Budget:
    """A token bucket.

    Args:
        burst: tokens that the full bucket holds.
        rate: tokens that come back a second.
        now: the clock's reading in seconds; the bucket starts full.
    """

    __slots__ = ("_burst", "_rate", "_seen", "_tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._seen = now

    def spend(self, now: float, cost: float = 1.0) -> bool:
        """Take ``cost`` tokens; false when they are not there."""
        refilled = self._tokens + (now - self._seen) * self._rate
        self._seen = now
        self._tokens = min(self._burst, refilled) - cost
        return self._tokens >= 0
