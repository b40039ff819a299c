"""Every store is tested by the same suite; a new one adds one line to ``STORES``.

``redis-two`` is two servers that share one Redis; each call goes to the other one, once the
word of the last one has gone round. ``redis-hasty`` is the same, and nothing is waited for.
``redis-cluster`` is one server on a cluster.

Time is virtual: ``advance`` moves it, and nothing sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from contract.steps import Steps
from support.clock import VirtualTimeLoop
from support.redis_servers import cluster
from support.redis_single import SingleRedis
from support.redis_stores import TwoServers, on_loop_time

from batchq.model import Limits
from batchq.stores.base import Store
from batchq.stores.local import LocalStore
from batchq.stores.memory import MemoryStore
from batchq.stores.redis import RedisStore
from batchq.stores.sqlite import SqliteStore

STORES: Final[dict[str, Callable[[Limits, Path, str], Store]]] = {
    "memory": lambda limits, _directory, _redis: MemoryStore(limits),
    "sqlite": lambda limits, directory, _redis: SqliteStore(directory / "queues.db", limits),
    "redis": lambda limits, _directory, redis: on_loop_time(redis, limits),
    "redis-two": lambda limits, _directory, redis: TwoServers(redis, limits),
    "redis-hasty": lambda limits, _directory, redis: TwoServers(redis, limits, hasty=True),
    "redis-cluster": lambda limits, _directory, redis: on_loop_time(redis, limits),
}

ONE_SERVER: Final = {
    # The order of those that wait,
    "test_two_hundred_waiting_pulls_are_served_in_order",
    "test_pushes_that_wait_for_room_keep_their_order",
    "test_those_behind_a_push_that_gave_up_go_on",
    "test_others_that_wait_get_the_lines",
    "test_a_batch_stored_while_its_twin_waits_for_room_is_known",
    "test_a_close_and_a_push_of_one_number",
    # how much may be parked,
    "test_too_many_ahead_are_refused_at_once",
    "test_too_many_bytes_ahead_are_refused_at_once",
    # and the moments of a call, which are counted, and to which going round adds some.
    "test_leased_lines_that_nobody_was_handed_are_not_counted",
    "test_a_retry_that_is_cancelled_leaves_the_first_its_lease",
    "test_a_retry_that_is_cancelled_counts_no_delivery",
    "test_a_pull_cancelled_when_all_is_committed_takes_nothing",
}
"""What is promised of the calls of one server only."""

UNHURRIED: Final = {
    # Lines without a lease count as stored until it is known that they have arrived.
    "test_a_pull_cancelled_while_its_lines_leave_takes_nothing",
    "test_a_pull_acknowledges_first",
    "test_a_retry_waits_on_when_the_first_gets_lines_at_its_end",
    "test_a_closed_queue_has_not_ended",
    "test_close_tells_the_totals_and_then_every_reader_the_end",
    "test_the_end_is_told_past_a_delete_to_those_who_pin_it",
}
"""What holds once the word has gone round."""

LEFT_OUT: Final = {
    # A waiting pull asks Redis for what it heard of, and the queue may be gone by then.
    "redis": {"test_a_delete_before_a_pull_could_return_its_lines"},
    "redis-two": ONE_SERVER,
    "redis-hasty": ONE_SERVER | UNHURRIED,
    # Connections to its nodes are opened meanwhile, and calls overtake each other.
    "redis-cluster": {"test_others_that_wait_get_the_lines"},
}

LIMITS: Final = Limits(
    queue_bytes=100,
    queues=3,
    producers=2,
    leases=6,
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [
        item for item in items if not (isinstance(item, pytest.Function) and _is_left_out(item))
    ]


def _is_left_out(item: pytest.Function) -> bool:
    return any(
        store in item.name and item.originalname in names for store, names in LEFT_OUT.items()
    )


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    server = SingleRedis()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    with cluster() as started:
        yield started.url


@pytest.fixture(params=sorted(STORES))
async def steps(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Steps]:
    redis = ""
    if "redis" in request.param:
        where = "cluster_url" if request.param == "redis-cluster" else "redis_url"
        redis = request.getfixturevalue(where)
    store = STORES[request.param](LIMITS, tmp_path, redis)
    await store.start()
    loop = asyncio.get_running_loop()
    if isinstance(loop, _Loop) and isinstance(store, LocalStore):
        loop.busy = lambda: bool(store._broker.pending)
    if isinstance(loop, _Loop) and isinstance(store, RedisStore | TwoServers):
        loop.busy = lambda: store.busy
    steps = Steps(store)
    try:
        yield steps
    finally:
        await steps.finish()
        await store.stop()
