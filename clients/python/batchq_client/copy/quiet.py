"""When a queue that gives nothing has been asked often enough."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

from batchq_client.client import Client
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.others import Others
from batchq_client.copy.pulls import Pull
from batchq_client.copy.retry import is_passing
from batchq_client.errors import ClientError

_EARLY: Final = 0.9
"""A pull for nothing that took less than this part of its wait, or of the longest that the
server allows, was not waited for: the server is about to end."""

_UNTOLD_WAIT: Final = 1.0
"""Seconds that a server lets a pull wait at the least, where it does not tell its limit."""

_PAUSE: Final = 0.5
"""Seconds between pulls for nothing that the server did not let wait."""


class Quiet:
    """Counts pulls in a row that waited their full time for nothing.

    Args:
        client: of the queue's server.
        options: how long a pull waits, and how many of them are enough.
        others: what is out to them may still come.
    """

    def __init__(self, client: Client, options: CopyOptions, others: Others) -> None:
        self._client = client
        self._options = options
        self._others = others
        self._count = 0
        self._max_wait = inf

    @property
    def over(self) -> bool:
        """It was asked often enough."""
        return self._count >= self._options.retries

    def broken(self) -> None:
        """Lines came."""
        self._count = 0

    async def nothing(self, pull: Pull) -> None:
        """Notes a pull that waited and got nothing; returns when another one is right.

        Raises:
            CopyError: the server can't be reached for too long.
            ClientError: it refuses.
        """
        waited = asyncio.get_running_loop().time() - pull.sent
        if waited < await self._full_wait(waited):
            await asyncio.sleep(_PAUSE)
            return
        # Where the server lets nobody wait for long, the reader does not ask on and on.
        await asyncio.sleep(max(0.0, min(self._options.wait, _PAUSE) - waited))
        if not await self._others.may_follow():
            self._count += 1

    async def _full_wait(self, waited: float) -> float:
        """Seconds from which on a pull for nothing was waited for.

        The server is asked for its limit when it cut the wait of ``waited`` seconds short.
        """
        wait = self._options.wait
        if waited < _EARLY * min(wait, self._max_wait):
            try:
                told = (await self._client.healthz()).max_wait
            except ClientError as error:
                # It is about to end, or to come back, and will tell another time.
                if is_passing(error, repeatable=True):
                    return inf
                told = None
            self._max_wait = _UNTOLD_WAIT if told is None else told
        return _EARLY * min(wait, self._max_wait)
