"""Queues in memory: as fast as it gets, and gone with the process."""

from __future__ import annotations

from batchq.broker import Change
from batchq.model import Promise
from batchq.stores.local import LocalStore


class MemoryStore(LocalStore):
    """Queues in this process's memory. See ``batchq.stores.base.Store``."""

    @property
    def promise(self) -> Promise:
        """What a push that returned survives: nothing but the process itself."""
        return Promise(
            "process", "queues are in memory: they survive nothing but the process itself"
        )

    async def start(self) -> None:
        """Opens the store."""

    async def stop(self) -> None:
        """Closes the store; what still waits is answered."""
        self.drain()
        self._disarm()

    def _commit(self, changes: list[Change]) -> None:
        for change in changes:
            self._applied(change)
