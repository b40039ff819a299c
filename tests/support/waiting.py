"""Waiting for what a server shows in its statistics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from batchq.errors import NoSuchQueue
from batchq.model import QueueStats
from batchq.stores.base import Store

_SECONDS = 30.0


async def until(store: Store, queue: str, holds: Callable[[QueueStats], bool]) -> QueueStats:
    """Waits until a queue's statistics are as wanted; it fails after half a minute."""
    async with asyncio.timeout(_SECONDS):
        while True:
            try:
                stats = await store.stats(queue, None)
            except NoSuchQueue:
                stats = None
            if stats is not None and holds(stats):
                return stats
            await asyncio.sleep(0.005)


async def until_waiting(store: Store, queue: str, pulls: int) -> None:
    """Waits until so many pulls wait on an existing queue."""
    await until(store, queue, lambda stats: stats.waiting_pulls == pulls)


async def until_parked(store: Store, queue: str, pushes: int) -> None:
    """Waits until so many pushes are parked at an existing queue."""
    await until(store, queue, lambda stats: stats.parked_pushes == pushes)
