"""Every store is tested by the same suite; a new one adds one line to ``STORES``.

Time is virtual: ``advance`` moves it, and nothing sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest
from contract.steps import Steps
from support.clock import VirtualTimeLoop

from batchq.model import Limits
from batchq.stores.base import Store
from batchq.stores.local import LocalStore
from batchq.stores.memory import MemoryStore
from batchq.stores.sqlite import SqliteStore

STORES: Final[dict[str, Callable[[Limits, Path], Store]]] = {
    "memory": lambda limits, _directory: MemoryStore(limits),
    "sqlite": lambda limits, directory: SqliteStore(directory / "queues.db", limits),
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


class _Loop(VirtualTimeLoop):
    """Not idle while the store's threads have something to commit."""

    busy: Callable[[], bool] | None = None

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not (self.busy is not None and self.busy())


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual-time": _Loop}


@pytest.fixture(params=sorted(STORES))
async def steps(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Steps]:
    store = STORES[request.param](LIMITS, tmp_path)
    await store.start()
    loop = asyncio.get_running_loop()
    if isinstance(loop, _Loop) and isinstance(store, LocalStore):
        loop.busy = lambda: store._broker.pending
    steps = Steps(store)
    try:
        yield steps
    finally:
        await steps.finish()
        await store.stop()
