"""Lines that were delivered and not yet acknowledged: made safe, then acknowledged, in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from batchq_client.copy.leases import Leases
from batchq_client.copy.options import MIB
from batchq_client.model import Pulled

_GROUP_BYTES: Final = 32 * MIB
"""Bytes that are made safe and acknowledged together, while lines come without a pause."""

_GROUP_LEASES: Final = 1000
"""Leases that are: a server bounds how many may be out."""

_PAUSE: Final = 0.1
"""Seconds that lines are gathered for at the most, where making them safe takes long."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a reader came: the first lines of a queue's life.

    Attributes:
        queue_id: the life.
        lines: lines from its beginning.
        bytes: their payload bytes.
    """

    queue_id: str | None
    lines: int
    bytes: int


class Receiver(Protocol):
    """Where a reader's lines go."""

    async def deliver(self, batch: Pulled) -> None:
        """Takes the lines that come next."""

    async def secure(self, mark: Mark | None) -> None:
        """Makes all that was delivered safe, as far as the destination can.

        Args:
            mark: what that is; None where lines before it are missing.
        """

    async def acknowledged(self) -> None:
        """The server knows that these lines are safe."""


class Commits:
    """Makes safe and acknowledges.

    Args:
        leases: those of the lines.
        receiver: has the lines.
        mark: tells how far the reader came.
    """

    def __init__(self, leases: Leases, receiver: Receiver, mark: Callable[[], Mark | None]) -> None:
        self._leases = leases
        self._receiver = receiver
        self._mark = mark
        self._pending: list[str] = []
        self._bytes = 0
        self._wanted = asyncio.Event()
        self._busy = asyncio.Lock()

    def delivered(self, batch: Pulled) -> None:
        """Notes a batch that the receiver has taken."""
        if batch.lease is not None:
            self._pending.append(batch.lease)
        self._bytes += len(batch.data)

    def want(self, *, paused: bool) -> None:
        """Asks for a commit where one is worth it.

        Args:
            paused: no more lines are ready.
        """
        many = self._bytes >= _GROUP_BYTES or len(self._pending) >= _GROUP_LEASES
        if self._pending and (paused or many):
            self._wanted.set()

    async def when_wanted(self) -> None:
        """Commits when that is asked for, and at the latest after a part of the leases' time."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._leases.seconds / 4):
                    await self._wanted.wait()
            self._wanted.clear()
            began = loop.time()
            await self.now()
            # What comes meanwhile goes together: at most half of the time is spent here.
            await asyncio.sleep(min(loop.time() - began, _PAUSE))

    async def now(self) -> None:
        """Makes safe what was delivered, then acknowledges it.

        Raises:
            CopyError: the destination fails, or the server can't be reached for too long.
            ClientError: it refuses.
        """
        async with self._busy:
            if not self._pending:
                return
            leases, self._pending, self._bytes = self._pending, [], 0
            await self._receiver.secure(self._mark())
            await self._leases.ack(leases)
            await self._receiver.acknowledged()
