"""Every store is tested by the same suite; a new one adds one line to ``STORES``.

Time is virtual: ``advance`` moves it, and nothing sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest
from contract.steps import Steps
from support.clock import VirtualTimeLoop

from batchq.model import Limits
from batchq.stores.base import Store
from batchq.stores.memory import MemoryStore

STORES: Final[dict[str, Callable[[Limits], Store]]] = {
    "memory": MemoryStore,
}

LIMITS: Final = Limits(
    queue_bytes=100,
    queues=3,
    producers=2,
    parked_batches=4,
    parked_bytes=40,
    park_seconds=8.0,
    keep_closed=60.0,
    lease_seconds=100.0,
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual-time": VirtualTimeLoop}


@pytest.fixture(params=sorted(STORES))
async def steps(request: pytest.FixtureRequest) -> AsyncIterator[Steps]:
    store = STORES[request.param](LIMITS)
    await store.start()
    try:
        yield Steps(store)
    finally:
        await store.stop()
