"""What other readers have of a queue, as the server's statistics tell.

Lines that are missing, and a queue that has nothing to give, mean one of two things: the lines
are out to another reader, maybe one that was killed, and come back when its leases run out; or
they are gone. Only the server knows which, and no clock of this reader's does: another one's
leases may be longer than its own.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto
from typing import Final

from batchq_client.client import Client
from batchq_client.copy.leases import Leases
from batchq_client.copy.outcome import QueueGone
from batchq_client.copy.retry import Patience, patiently
from batchq_client.errors import NoSuchQueue, QueueReplaced
from batchq_client.model import QueueStats

_log: Final = logging.getLogger(__name__)

_TOLD_AFTER: Final = 1.0
"""Seconds of waiting for others after which the user is told."""


class Fate(Enum):
    """What became of lines that are missing."""

    OUT = auto()
    """Others have lines: these may be among them."""
    READY = auto()
    """They may be ready: a pull that is sent now brings them, if they are."""
    GONE = auto()
    """Somebody is done with them: they never come."""


class Others:
    """Asks what is out to other readers.

    Its calls raise ``CopyError`` where the server can't be reached for too long, and
    ``ClientError`` where it refuses.

    Args:
        client: of the queue's server.
        queue: its name.
        leases: this reader's own.
        patience: with faults.
    """

    def __init__(self, client: Client, queue: str, leases: Leases, patience: Patience) -> None:
        self._client = client
        self._queue = queue
        self._leases = leases
        self._patience = patience
        self._seen: int | None = None
        self._since: float | None = None
        self._told = False

    def forget(self) -> None:
        """Lines came that were due: whatever was missing is not missing any more."""
        self._seen = self._since = None
        self._told = False

    def came_before(self) -> None:
        """A pull brought lines from before the missing ones, so that it could not bring these.

        Lines that the destination has already come again where their lease ran out.
        """
        self._seen = None

    async def fate(self) -> Fate:
        """Finds out about lines that are missing, with no pull under way but one that waits.

        They are gone when nobody has lines, and a pull that was sent after that was known
        brought none from before their place and not them: so this is asked at least twice
        where lines are ready.

        Raises:
            QueueGone: the life that is read is over.
        """
        try:
            stats = await self._stats()
            if not self._out(stats):
                # One that ran out unnoticed would count as this reader's, and hide another's.
                await self._leases.confirm()
                stats = await self._stats()
        except (NoSuchQueue, QueueReplaced) as error:
            raise QueueGone(self._queue, "read from") from error
        before, self._seen = self._seen, self._out(stats)
        if self._seen:
            self._tell(self._seen)
            # Where the number moves, lines came back or went: these may be ready for a moment.
            return Fate.OUT if before == self._seen else Fate.READY
        if stats.ready_lines and before != 0:
            return Fate.READY
        return Fate.GONE

    async def may_follow(self) -> bool:
        """Tells whether lines, or the end, may still come of a queue that gave nothing."""
        try:
            stats = await self._stats()
        except (NoSuchQueue, QueueReplaced):
            return False
        out = self._out(stats)
        if out:
            self._tell(out)
        # Others may have been done with the last lines since: then the end is told now.
        return out > 0 or stats.ready_lines > 0 or stats.closed

    async def _stats(self) -> QueueStats:
        return await patiently(
            self._patience,
            lambda: self._client.queue(self._queue, queue_id=self._leases.queue_id),
        )

    def _out(self, stats: QueueStats) -> int:
        return max(0, stats.leased_lines - self._leases.lines)

    def _tell(self, lines: int) -> None:
        """Says once that others are waited for, so that nobody takes a long wait for work."""
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
        if self._told or now - self._since < _TOLD_AFTER:
            return
        self._told = True
        _log.warning(
            "%d lines of queue %r are out to another reader; waiting until it is done with them "
            "or its leases run out",
            lines,
            self._queue,
        )
