"""Which queues there are, and which ended lives are remembered: two keys for all queues.

In a cluster they are not where the queues are, so they can't change with them. A name is
noted before its queue is created and removed after it is over; one that a server left
behind when it ended in between is noticed when the queue is looked at.
"""

from __future__ import annotations

import time
from typing import Final

from batchq.model import Limits
from batchq.stores.redis import scripts
from batchq.stores.redis.keys import Keys
from batchq.stores.redis.link import Link


class Names:
    """The names of queues.

    Args:
        link: the way to Redis.
        keys: names of keys.
        limits: how many there may be.
    """

    PENDING_SECONDS: Final = 30
    """Seconds for which a noted name counts although there is no queue: it is being created."""

    def __init__(self, link: Link, keys: Keys, limits: Limits) -> None:
        self._link = link
        self._keys = keys
        self._limits = limits

    async def add(self, name: str, life: str) -> bool:
        """Notes a queue that is about to be created; tells whether there may be one more."""
        answer, _ = await self._link.command(
            scripts.REGISTER, self._keys.names, name, life, self._limits.queues, int(time.time())
        )
        return bool(answer)

    async def is_noted(self, name: str, life: str) -> bool:
        """Tells whether a life is among the names."""
        noted = await self._link.plain("HGET", self._keys.names, name, key=self._keys.names)
        return noted is not None and _noted(noted)[0] == life

    async def keep(self, name: str, life: str) -> None:
        """Notes a queue that is there; nothing is written where it is noted."""
        await self._link.command(scripts.NOTE, self._keys.names, name, life, int(time.time()))

    async def sweep(self, name: str) -> None:
        """Removes the lines of lives that were deleted, some at a time."""
        more = 1
        while more:
            more, _ = await self._link.command(scripts.SWEEP, self._keys.queue(name))

    async def remove(self, name: str, life: str) -> None:
        """Forgets a queue whose life is over, unless another has begun."""
        await self._link.command(scripts.UNREGISTER, self._keys.names, name, life)

    async def all(self) -> dict[str, tuple[str, int]]:
        """All names; by name the life, and when it was noted in seconds since the epoch."""
        flat = await self._link.plain("HGETALL", self._keys.names, key=self._keys.names)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): _noted(value) for name, value in pairs}

    async def keep_record(self, name: str, life: str) -> None:
        """Notes an ended life whose record is kept; the oldest go when there are too many."""
        keep = self._limits.keep_closed
        if keep <= 0:
            return
        gone, _ = await self._link.command(
            scripts.KEEP_RECORD, self._keys.records, f"{name} {life}",
            f"{time.time():.3f}", f"{keep:.3f}", self._limits.queues,
        )  # fmt: skip
        for record in gone:
            old, _, old_life = record.decode().partition(" ")
            key = f"{self._keys.queue(old)}:record:{old_life}"
            await self._link.plain("UNLINK", key, f"{key}:producers", key=key)


def _noted(value: bytes) -> tuple[str, int]:
    life, _, noted = value.decode().partition(" ")
    return life, int(noted)
