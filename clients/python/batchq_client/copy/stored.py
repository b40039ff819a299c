"""How far a writer's numbered batches are stored. Pure but for those who wait for it."""

from __future__ import annotations

import asyncio


class Stored:
    """Which numbers are stored; answers come in any order.

    Attributes:
        below: all lower numbers are stored.
        failure: why one never will be, once that is so.
    """

    def __init__(self) -> None:
        self._above: set[int] = set()
        self._moved = asyncio.Event()
        self.below = 0
        self.failure: BaseException | None = None

    def add(self, seq: int) -> None:
        """Notes a number that is stored."""
        self._above.add(seq)
        while self.below in self._above:
            self._above.remove(self.below)
            self.below += 1
        self._tell()

    def fail(self, error: BaseException) -> None:
        """Notes that a batch failed; the first one's error stands."""
        if self.failure is None:
            self.failure = error
            self._tell()

    def check(self) -> None:
        """Raises the error of the batch that failed, if one did."""
        if self.failure is not None:
            raise self.failure

    async def until(self, below: int) -> None:
        """Waits until all lower numbers are stored. Raises as ``check``."""
        while self.below < below:
            self.check()
            await self._moved.wait()
        self.check()

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
