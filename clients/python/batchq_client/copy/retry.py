"""When a request may be sent again, and how long to wait before."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from batchq_client.copy.outcome import CopyError
from batchq_client.errors import (
    ClientError,
    Incompatible,
    InternalError,
    LimitReached,
    NetworkFault,
    NotSent,
    QueueFull,
    Unavailable,
    UnexpectedAnswer,
)

_T = TypeVar("_T")

_log: Final = logging.getLogger(__name__)

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_TOLD_AFTER: Final = 1.0
"""Seconds of trouble after which the user is told that there is some."""

_GATEWAY: Final = frozenset((502, 503, 504))
"""Statuses of a proxy whose server is away."""


def is_passing(error: ClientError, *, repeatable: bool) -> bool:
    """Tells whether sending the same request again is right and may help.

    Args:
        error: what came of it.
        repeatable: doing it twice does no harm, as it is numbered or leased.
    """
    if isinstance(error, Incompatible):
        return False
    if isinstance(error, NetworkFault):
        return repeatable or isinstance(error, NotSent)
    if isinstance(error, UnexpectedAnswer):
        return repeatable and error.status in _GATEWAY
    if isinstance(error, InternalError):
        return repeatable
    return isinstance(error, (LimitReached, Unavailable))


class Patience:
    """Growing, jittered waits between tries, for a bounded time in all.

    A success gives all of it back. A full queue is no fault and costs nothing of it.

    Args:
        seconds: how long faults are borne, from the first one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._tries = 0
        self._grows = 0.0
        self._trouble: float | None = None
        self._told = False

    def restored(self) -> None:
        """Something went well."""
        self._since = None
        self._tries = 0
        self._grows = 0.0
        self._trouble = None
        self._told = False

    async def bear(
        self, error: ClientError, *, repeatable: bool, passing: bool | None = None
    ) -> None:
        """Waits before another try.

        Args:
            error: what came of the last one.
            repeatable: doing it twice does no harm, as it is numbered or leased.
            passing: whether another try is right, where the caller knows that.

        Raises:
            ClientError: the error itself, where another try is wrong.
            CopyError: it has gone on for too long.
        """
        if not (is_passing(error, repeatable=repeatable) if passing is None else passing):
            raise error
        loop = asyncio.get_running_loop()
        self._tell(error, loop.time())
        pause = min(_FIRST_WAIT * 2**self._tries, _LONGEST_WAIT)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  to spread retries, not to hide anything
        if isinstance(error, (LimitReached, Unavailable)) and error.retry_after is not None:
            pause = max(pause, min(float(error.retry_after), _LONGEST_WAIT))
        if not isinstance(error, QueueFull):
            # Requests that failed together waited once, not once each.
            if loop.time() >= self._grows:
                self._tries += 1
                self._grows = loop.time() + pause
            if self._since is None:
                self._since = loop.time()
            if loop.time() + pause - self._since > self._seconds:
                raise CopyError(f"{error} (for {self._seconds:g} s)") from error
        await asyncio.sleep(pause)

    def _tell(self, error: ClientError, now: float) -> None:
        """Says once that nothing goes on, so that nobody takes a long wait for work."""
        if self._trouble is None:
            self._trouble = now
        if self._told or now - self._trouble < _TOLD_AFTER:
            return
        self._told = True
        if isinstance(error, QueueFull):
            _log.warning("%s; waiting for room", error)
        else:
            _log.warning("%s; trying again for up to %g s", error, self._seconds)


async def patiently(patience: Patience, call: Callable[[], Awaitable[_T]]) -> _T:
    """Makes a request that may be made twice, until it is answered.

    Raises:
        ClientError: another try is wrong.
        CopyError: it has gone on for too long.
    """
    while True:
        try:
            answer = await call()
        except ClientError as error:
            await patience.bear(error, repeatable=True)
        else:
            patience.restored()
            return answer
