"""The leases that a reader holds: acknowledged in groups, extended, given back.

A lease is acknowledged when its lines are safe. Until then the lines are the server's to hand
out again, should this reader vanish.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from batchq_client.client import Client
from batchq_client.copy.outcome import QueueGone
from batchq_client.copy.retry import Patience, patiently
from batchq_client.errors import ClientError, LeaseLost, OutcomeUnknown, QueueReplaced
from batchq_client.model import Pulled

_AT_ONCE: Final = 100
"""Ids in one request: they stand in its URL."""

_RELEASE_SECONDS: Final = 2.0
"""How long a reader that ends waits for the server to take lines back."""


@dataclass(slots=True)
class _Lease:
    lines: int
    ends: float


class Leases:
    """The leases of one reader on one queue.

    Args:
        client: of the queue's server.
        queue: its name.
        seconds: how long a lease is asked for.
        patience: with faults.

    Attributes:
        seconds: how long a lease is asked for.
        queue_id: the life that they are of, once it is known.
    """

    def __init__(self, client: Client, queue: str, seconds: float, patience: Patience) -> None:
        self._client = client
        self._queue = queue
        self._patience = patience
        self._out: dict[str, _Lease] = {}
        self._leaving: set[str] = set()
        self.seconds = seconds
        self.queue_id: str | None = None

    @staticmethod
    def new_id() -> str:
        """Makes an id that nobody else has."""
        return secrets.token_hex(8)

    @property
    def lines(self) -> int:
        """Lines that are surely out to this reader: not those that are being acknowledged."""
        return sum(held.lines for lease, held in self._out.items() if lease not in self._leaving)

    def took(self, batch: Pulled) -> None:
        """Notes the lease that a batch came with."""
        if batch.lease is not None:
            seconds = self.seconds if batch.lease_seconds is None else batch.lease_seconds
            ends = asyncio.get_running_loop().time() + seconds
            self._out[batch.lease] = _Lease(batch.lines, ends)

    async def ack(self, leases: Sequence[str]) -> None:
        """Is done with leases; those that ran out are left out.

        Raises:
            CopyError: the server can't be reached for too long.
            ClientError: it refuses.
        """
        known = [lease for lease in leases if lease in self._out]
        self._leaving.update(known)
        try:
            for start in range(0, len(known), _AT_ONCE):
                await self._ack(known[start : start + _AT_ONCE])
        finally:
            self._leaving.difference_update(known)

    async def _ack(self, leases: list[str]) -> None:
        tried = False  # an earlier try may have been carried out
        loop = asyncio.get_running_loop()
        while True:
            sent = loop.time()
            try:
                await self._patience.within(
                    lambda: self._client.ack(self._queue, leases, queue_id=self.queue_id)
                )
            except LeaseLost:
                break  # their lines come again, and are not delivered again
            except QueueReplaced:
                # With its last acknowledgement a closed queue may be deleted.
                if not tried:
                    raise QueueGone(self._queue, "read from") from None
                break
            except ClientError as error:
                tried = tried or isinstance(error, OutcomeUnknown)
                await self._patience.bear(error, repeatable=True, due=sent)
            else:
                break
        self._patience.restored()
        self._forget(leases)

    async def keep(self) -> None:
        """Extends leases that have been held for long, for ever.

        A reader may be slow, as whoever reads its output is, and is no less alive for that.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.seconds / 4)
            soon = loop.time() + self.seconds / 2
            old = [lease for lease, held in self._out.items() if held.ends < soon]
            # There is time for another try; pulls tell what is wrong.
            with suppress(ClientError):
                await self._extend_all(old)

    async def confirm(self) -> None:
        """Extends all leases, so that those are known that ran out.

        Raises:
            CopyError: the server can't be reached for too long.
            ClientError: it refuses.
        """
        await patiently(self._patience, lambda: self._extend_all(list(self._out)))

    async def _extend_all(self, leases: Sequence[str]) -> None:
        for start in range(0, len(leases), _AT_ONCE):
            await self._extend(leases[start : start + _AT_ONCE])

    async def _extend(self, leases: Sequence[str]) -> None:
        lost: tuple[str, ...] = ()
        try:
            await self._client.extend(self._queue, leases, self.seconds, queue_id=self.queue_id)
        except LeaseLost as error:
            lost = error.lost
        ends = asyncio.get_running_loop().time() + self.seconds
        for lease in leases:
            if lease in self._out and lease not in lost:
                self._out[lease].ends = ends
        self._forget(lost)

    async def release(self, leases: Sequence[str]) -> None:
        """Gives the lines of leases back, if that is possible at once."""
        self._forget(leases)
        with suppress(ClientError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                for start in range(0, len(leases), _AT_ONCE):
                    some = leases[start : start + _AT_ONCE]
                    with suppress(LeaseLost):
                        await self._client.release(self._queue, some, queue_id=self.queue_id)

    async def release_all(self, *more: str) -> None:
        """Gives back all that is out.

        Args:
            more: ids of pulls that were not answered, and may have taken lines.
        """
        await self.release([*self._out, *more])

    def _forget(self, leases: Sequence[str]) -> None:
        for lease in leases:
            self._out.pop(lease, None)
