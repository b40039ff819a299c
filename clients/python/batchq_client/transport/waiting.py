"""Waiting for one thing with a deadline, at the cost of one future and one timer."""

from __future__ import annotations

import asyncio

__all__ = ["Signal"]


class Signal:
    """Wakes the one task that waits for it, or tells it that its time is over.

    A notification while nobody waits is forgotten: whoever waits looks at the state
    first, and there is no `await` between the look and the wait.
    """

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[bool] | None = None

    def notify(self) -> None:
        """Wake the waiting task, if there is one."""
        _settle(self._future, notified=True)

    async def wait(self, seconds: float | None) -> bool:
        """Wait for a notification.

        Args:
            seconds: How long at most; None waits as long as it takes.

        Returns:
            Whether there was a notification before the time was over.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._future = future
        timer = None if seconds is None else loop.call_later(seconds, _expire, future)
        try:
            return await future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()


def _expire(future: asyncio.Future[bool]) -> None:
    _settle(future, notified=False)


def _settle(future: asyncio.Future[bool] | None, *, notified: bool) -> None:
    if future is not None and not future.done():
        future.set_result(notified)
