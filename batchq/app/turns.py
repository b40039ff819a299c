"""Long work in short steps, between which the event loop serves all else."""

from __future__ import annotations

import asyncio
from typing import TypeVar, cast

from batchq.formats import Steps

_T = TypeVar("_T")


class Turns:
    """Has at most one piece of long work go on at a time.

    What others wait for between two steps is one step then, and what a step needs for
    itself is needed once, however many bodies have come.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, steps: Steps[_T]) -> _T:
        """Does work to its end: at once where that is one step, else when it is its turn.

        Raises:
            BatchqError: as the work does.
        """
        try:
            next(steps)
        except StopIteration as done:
            return cast("_T", done.value)
        async with self._lock:
            while True:
                await asyncio.sleep(0)
                try:
                    next(steps)
                except StopIteration as done:
                    return cast("_T", done.value)
