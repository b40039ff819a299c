"""What only a cluster does: slots that move, and nodes of which all are away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from support.redis_servers import Cluster, RedisServer, cluster
from support.redis_stores import until_tried
from support.resharding import Move
from support.servers import ServerProcess

from batchq import errors
from batchq.lines import batch_of
from batchq.model import Nothing, Pulled, PullRequest, PushRequest
from batchq.stores.redis import RedisStore

SECONDS = 40
KEY = "batchq:{q}"
LEASE = 1.0


@pytest.fixture(scope="module")
def steady() -> Iterator[Cluster]:
    """One that nobody harms for good: use queues of your own."""
    with cluster() as started:
        yield started


@pytest.fixture
def harmed() -> Iterator[Cluster]:
    with cluster(appendonly="yes") as started:
        yield started


async def opened(stack: AsyncExitStack, servers: Cluster) -> RedisStore:
    store = RedisStore(f"{servers.url}?timeout=1")
    await store.start()
    stack.push_async_callback(store.stop)
    return store


@pytest.fixture
async def store(steady: Cluster) -> AsyncIterator[RedisStore]:
    async with AsyncExitStack() as stack:
        yield await opened(stack, steady)


def push(body: bytes, queue: str = "q") -> PushRequest:
    return PushRequest(queue, batch_of(body))


def seconds_of(node: RedisServer) -> float:
    whole, micros = node.ask("TIME")
    return int(whole) + int(micros) / 1e6


async def test_a_slot_that_moves_loses_no_line(steady: Cluster, store: RedisStore) -> None:
    """A lease runs out while it does: its lines must not be taken from one key and not put back."""
    body = b"".join(b"%d\n" % number for number in range(10))
    await store.push(push(body))
    assert isinstance(await store.pull(PullRequest("q", max=5, lease=LEASE)), Pulled)
    waiting = asyncio.ensure_future(store.pull(PullRequest("q", min=10, partial=False, wait=60)))
    await until_tried(store, "q")
    move = Move(steady, KEY)
    over = seconds_of(move.source) + LEASE
    async with asyncio.timeout(SECONDS):
        while seconds_of(move.source) < over:  # noqa: ASYNC110  Redis tells nobody
            await asyncio.sleep(0.01)
        for taken in (0, 1, 2):
            move.take(*move.keys[: min(taken, 1)])
            for call in (store.stats("q", None), store.push(push(b"x\n"))):
                with pytest.raises(errors.StoreUnavailable, match="being moved"):
                    await call
        assert store.failure() is None, "other queues are served"
        assert isinstance(await store.pull(PullRequest("other")), Nothing)
        assert not waiting.done()
        move.finish()
        answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.data == body
    stats = await store.stats("q", None)
    assert (stats.lines, stats.leased_lines, stats.leases) == (10, 0, 0)


async def test_with_all_nodes_away_calls_are_told_so(harmed: Cluster) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(2 * SECONDS):
        store = await opened(stack, harmed)
        await store.push(push(b""))
        waiting = asyncio.ensure_future(store.pull(PullRequest("q", wait=60)))
        await until_tried(store, "q")
        for node in harmed.nodes:
            node.kill()
        for _ in range(3):
            for call in (
                store.push(push(b"x\n")),
                store.pull(PullRequest("q", wait=1)),
                store.stats("q", None),
                store.queues(),
            ):
                with pytest.raises(errors.StoreUnavailable):
                    await call
        assert store.failure() is not None
        assert not waiting.done()
        for node in harmed.nodes:
            node.start()
        await asyncio.to_thread(harmed.wait_until_ok)
        while store.failure() is not None:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.05)
        await store.push(push(b"a\n"))
        answer = await waiting
        assert isinstance(answer, Pulled)
        assert answer.data == b"a\n"


def test_it_does_not_start_where_no_node_is() -> None:
    with pytest.raises(RuntimeError, match="can't be reached") as told:
        ServerProcess("--store", "redis+cluster://127.0.0.1:1?timeout=1").start()
    assert "Traceback" not in str(told.value)


async def test_a_primary_that_stands_still_is_left_by_those_who_wait(harmed: Cluster) -> None:
    """Its connections are there for as long as it stands still."""
    async with AsyncExitStack() as stack, asyncio.timeout(2 * SECONDS):
        first, second = await opened(stack, harmed), await opened(stack, harmed)
        await first.push(push(b""))
        waiting = asyncio.ensure_future(second.pull(PullRequest("q", wait=60)))
        await until_tried(second, "q")
        old = harmed.primary_of(KEY)
        old.pause()
        try:
            await asyncio.to_thread(harmed.wait_for_failover, old, KEY)
            while True:
                try:
                    await first.push(push(b"a\n"))
                except errors.StoreUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    break
            answer = await waiting
        finally:
            old.resume()
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"
