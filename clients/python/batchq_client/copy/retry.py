"""When a request may be sent again, and how long to wait before."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final, TypeVar

from batchq_client.copy.outcome import CopyError
from batchq_client.errors import (
    ClientError,
    Incompatible,
    InternalError,
    LimitReached,
    NetworkFault,
    NotSent,
    OutcomeUnknown,
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

_LEAST_TRY: Final = 1.0
"""Seconds that any try has for its answer."""

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
        seconds: how long faults are borne, from when the first answer that did not come was
            due. There is one more try in any case, if it is not 0.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._good = -inf
        self._since: float | None = None
        self._tries = 0
        self._grows = 0.0
        self._waited = False
        self._notice: asyncio.TimerHandle | None = None
        self._error: ClientError | None = None

    def restored(self) -> None:
        """Something went well."""
        self._good = asyncio.get_running_loop().time()
        self._since = None
        self._tries = 0
        self._grows = 0.0
        self._waited = False
        self._calm()

    async def within(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Makes a request; while there is trouble, in no more time than patience is left.

        Raises:
            OutcomeUnknown: there was no answer in that time.
            ClientError: what else came of it.
        """
        if self._since is None:
            return await call()
        left = self._since + self._seconds - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(left, _LEAST_TRY)):
                return await call()
        except TimeoutError:
            raise OutcomeUnknown("no answer in the time that was left for it") from None

    async def bear(
        self,
        error: ClientError,
        *,
        repeatable: bool,
        due: float | None = None,
        waits: bool = False,
        passing: bool | None = None,
    ) -> None:
        """Waits before another try.

        Args:
            error: what came of the last one.
            repeatable: doing it twice does no harm, as it is numbered or leased.
            due: when its answer was due, by the loop's clock; None for now.
            waits: the next try may have its answer late, and nothing be wrong.
            passing: whether another try is right, where the caller knows that.

        Raises:
            ClientError: the error itself, where another try is wrong.
            CopyError: it has gone on for too long.
        """
        if not (is_passing(error, repeatable=repeatable) if passing is None else passing):
            raise error
        loop = asyncio.get_running_loop()
        now = loop.time()
        since = now if due is None else min(now, max(due, self._good))
        pause = min(_FIRST_WAIT * 2**self._tries, _LONGEST_WAIT)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  to spread retries, not to hide anything
        if isinstance(error, (LimitReached, Unavailable)) and error.retry_after is not None:
            pause = max(pause, min(float(error.retry_after), _LONGEST_WAIT))
        if not isinstance(error, QueueFull):
            self._since = since = since if self._since is None else self._since
            left = since + self._seconds - now
            if left > 0:
                pause = min(pause, left)  # the last try comes when time is over, not before
            elif self._waited or not self._seconds:
                self._calm()
                lasted = max(self._seconds, round(now - since))
                raise CopyError(f"{error} (for {lasted:g} s)") from error
            # Requests that failed together waited once, not once each.
            if now >= self._grows:
                self._tries += 1
                self._grows = now + pause
        self._error = error
        if self._notice is None and (not waits or now >= since + _TOLD_AFTER):
            self._notice = loop.call_at(since + _TOLD_AFTER, self._tell)
        await asyncio.sleep(pause)
        self._waited = self._since is not None

    def _calm(self) -> None:
        if self._notice is not None:
            self._notice.cancel()
            self._notice = None

    def _tell(self) -> None:
        """Says that nothing goes on, so that nobody takes a long wait for work."""
        if isinstance(self._error, QueueFull):
            _log.warning("%s; waiting for room", self._error)
        else:
            _log.warning("%s; trying again for up to %g s", self._error, self._seconds)


async def patiently(patience: Patience, call: Callable[[], Awaitable[_T]]) -> _T:
    """Makes a request that may be made twice, until it is answered.

    Raises:
        ClientError: another try is wrong.
        CopyError: it has gone on for too long.
    """
    loop = asyncio.get_running_loop()
    while True:
        sent = loop.time()
        try:
            answer = await patience.within(call)
        except ClientError as error:
            await patience.bear(error, repeatable=True, due=sent)
        else:
            patience.restored()
            return answer
