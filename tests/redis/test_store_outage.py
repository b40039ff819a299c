"""Redis goes away, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio.client import PubSub
from support.redis_single import SingleRedis
from support.redis_stores import until_tried

from batchq import errors
from batchq.lines import batch_of
from batchq.model import Limits, Nothing, Numbering, Pulled, PullRequest, PushRequest
from batchq.stores.redis import RedisStore

SECONDS = 30


@pytest.fixture
def lasting() -> Iterator[SingleRedis]:
    server = SingleRedis(keeps=True)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def over(lasting: SingleRedis) -> AsyncIterator[RedisStore]:
    store = RedisStore(lasting.url, Limits())
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def until_back(store: RedisStore) -> None:
    async with asyncio.timeout(SECONDS):
        while store.failure() is not None:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)


def push(body: bytes, seq: int | None = None) -> PushRequest:
    return PushRequest("q", batch_of(body), None if seq is None else Numbering("p", 0, seq))


async def test_while_it_is_away_calls_are_told_so(lasting: SingleRedis, over: RedisStore) -> None:
    await over.push(push(b"a\n"))
    assert over.failure() is None
    lasting.kill()
    with pytest.raises(errors.StoreUnavailable) as told:
        await over.push(push(b"b\n"))
    assert told.value.retry_after >= 1
    assert over.failure() is not None
    for call in (
        over.pull(PullRequest("q")),
        over.ack("q", ["x"], None),
        over.delete("q", None),
        over.queues(),
        over.stats("q", None),
    ):
        with pytest.raises(errors.StoreUnavailable):
            await call
    lasting.start()
    await until_back(over)
    assert (await over.push(push(b"b\n"))).offset == 1


async def test_it_is_noticed_when_it_is_back_although_nobody_calls(
    lasting: SingleRedis, over: RedisStore
) -> None:
    lasting.kill()
    with pytest.raises(errors.StoreUnavailable):
        await over.push(push(b"a\n"))
    assert over.failure() is not None
    lasting.start()
    await until_back(over)
    assert (await over.push(push(b"a\n"))).offset == 0


async def all_wait(store: RedisStore, queue: str, pulls: int) -> bool:
    """Whether so many pulls were tried and wait."""
    slot = store._opened().slots.get(queue)
    return slot is not None and pulls == sum(
        call.trying is None and not call.due for call in slot.waiters
    )


async def test_waiting_pulls_wait_on_and_are_served_once(
    lasting: SingleRedis, over: RedisStore
) -> None:
    await over.push(push(b""))
    pulls = [asyncio.ensure_future(over.pull(PullRequest("q", max=1, wait=60))) for _ in range(3)]
    other = asyncio.ensure_future(over.pull(PullRequest("none yet", wait=60)))
    for queue, waiting in (("q", 3), ("none yet", 1)):
        while not await all_wait(over, queue, waiting):  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)
    lasting.kill()
    with pytest.raises(errors.StoreUnavailable):
        await over.push(push(b"x\n"))
    assert not any(pull.done() for pull in [*pulls, other])
    lasting.start()
    await until_back(over)
    async with asyncio.timeout(SECONDS):
        await over.push(push(b"a\nb\nc\n"))
        answers = await asyncio.gather(*pulls)
    assert [a.offset for a in answers if isinstance(a, Pulled)] == [0, 1, 2]
    await over.push(PushRequest("none yet", batch_of(b"d\n")))
    async with asyncio.timeout(SECONDS):
        assert isinstance(await other, Pulled)


async def test_what_other_servers_did_meanwhile_is_not_missed(
    lasting: SingleRedis, over: RedisStore
) -> None:
    """The subscription was away when it was said."""
    await over.push(push(b""))
    pull = asyncio.ensure_future(over.pull(PullRequest("q", wait=60)))
    parked = asyncio.ensure_future(over.push(push(b"c\n", 1)))
    while (await over.stats("q", None)).parked_pushes < 1:  # noqa: ASYNC110  the store tells nobody
        await asyncio.sleep(0.01)
    await until_tried(over, "q")
    open_ = over._subscription.open
    over._subscription.open = _nowhere  # type: ignore[method-assign,assignment]
    pubsub: Any = over._subscription._by_node[""]._pubsub
    assert pubsub.connection is not None
    await pubsub.connection.disconnect()
    other = RedisStore(lasting.url, Limits())
    await other.start()
    try:
        await other.push(push(b"b\n", 0))
    finally:
        await other.stop()
    over._subscription.open = open_  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS):
        answer = await pull
        assert (await parked).offset == 1
    assert isinstance(answer, Pulled)
    assert answer.data.startswith(b"b\n")


async def _nowhere(_node: str) -> PubSub:
    raise OSError("no way")


async def test_a_wait_that_ends_while_it_is_away_is_told_so(
    lasting: SingleRedis, over: RedisStore
) -> None:
    await over.push(push(b""))
    pull = asyncio.ensure_future(over.pull(PullRequest("q", wait=2)))
    while not await all_wait(over, "q", 1):  # noqa: ASYNC110  the store tells nobody
        await asyncio.sleep(0.01)
    lasting.kill()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(errors.StoreUnavailable):
            await pull
    lasting.start()


async def test_a_short_absence_is_not_noticed(lasting: SingleRedis, over: RedisStore) -> None:
    await over.push(push(b"a\n"))
    lasting.kill()
    second = asyncio.ensure_future(over.push(push(b"b\n")))
    await asyncio.sleep(0)
    lasting.start()
    async with asyncio.timeout(SECONDS):
        assert (await second).offset == 1


async def test_it_can_not_start_without_redis(lasting: SingleRedis) -> None:
    lasting.kill()
    store = RedisStore(lasting.url, Limits())
    with pytest.raises(errors.StoreUnavailable):
        await store.start()
    assert store.failure() is not None
    await store.stop()


async def test_out_of_memory_pulls_go_on(lasting: SingleRedis, over: RedisStore) -> None:
    pushed = await over.push(push(b"x" * 5000 + b"\n"))
    await over._link.plain("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(errors.StoreUnavailable, match="pull what is queued"):
        await over.push(push(b"y\n"))
    leased = await over.pull(PullRequest("q", lease=5))
    assert isinstance(leased, Pulled)
    assert leased.lease is not None
    await over.release("q", [leased.lease.id], pushed.queue_id)
    assert isinstance(await over.pull(PullRequest("q")), Pulled)
    assert isinstance(await over.pull(PullRequest("q")), Nothing)
    assert (await over.stats("q", None)).stored_bytes == 0
    await over._link.plain("CONFIG", "SET", "maxmemory", "0")
    assert (await over.push(push(b"y\n"))).offset == 1
