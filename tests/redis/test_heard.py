"""What a server is told of others' changes: strange messages, and clocks that go back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgpack  # type: ignore[import-untyped]
import pytest
from redis.asyncio.client import PubSub
from support.redis_stores import until_tried

from batchq.lines import batch_of
from batchq.model import Pulled, PullRequest, PushRequest
from batchq.stores.redis import RedisStore
from batchq.stores.redis.state import Order, State, order

SECONDS = 30


class Clock:
    """Redis's clock, for all who ask; a failover may set it back."""

    def __init__(self) -> None:
        self.behind = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + 1_000 - self.behind


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def two(prefixed: str, clock: Clock) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    stores = (RedisStore(prefixed, clock=clock), RedisStore(prefixed, clock=clock))
    for store in stores:
        await store.start()
    try:
        yield stores
    finally:
        for store in stores:
            await store.stop()


def push(body: bytes) -> PushRequest:
    return PushRequest("q", batch_of(body))


@pytest.mark.parametrize(
    "said",
    [
        b"hello",
        b"",
        msgpack.packb(7),
        msgpack.packb({"from": "a stranger"}),
        msgpack.packb({"from": "a stranger", "s": {"now": "late"}}),
    ],
)
async def test_what_strangers_publish_does_no_harm(
    two: tuple[RedisStore, RedisStore], said: bytes
) -> None:
    first, second = two
    await first.push(push(b""))
    pull = asyncio.ensure_future(second.pull(PullRequest("q", wait=60)))
    await until_tried(second, "q")
    channel = second._opened().keys.queue("q")
    assert await second._link.plain("PUBLISH", channel, said) == 1
    await first.push(push(b"a\n"))
    async with asyncio.timeout(SECONDS):
        answer = await pull
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"


async def test_all_queues_are_heard_of_through_one_subscription(
    two: tuple[RedisStore, RedisStore],
) -> None:
    first, second = two
    names = [f"q{number}" for number in range(5)]
    pulls = [asyncio.ensure_future(second.pull(PullRequest(name, wait=60))) for name in names]
    for name in names:
        await until_tried(second, name)
    clients = await second._link.plain("CLIENT", "LIST", "TYPE", "pubsub")
    assert len(clients if isinstance(clients, list) else clients.splitlines()) == 1
    for name in names:
        await first.push(PushRequest(name, batch_of(b"a\n")))
    async with asyncio.timeout(SECONDS):
        assert all(isinstance(answer, Pulled) for answer in await asyncio.gather(*pulls))


async def test_a_queue_that_is_waited_for_while_the_subscription_begins_is_heard_of(
    two: tuple[RedisStore, RedisStore],
) -> None:
    first, second = two
    open_, begun, go = second._subscription.open, asyncio.Event(), asyncio.Event()

    async def slow(node: str) -> PubSub:
        pubsub = await open_(node)
        subscribe = pubsub.subscribe

        async def subscribed(*channels: str) -> None:
            begun.set()
            await go.wait()
            await subscribe(*channels)

        pubsub.subscribe = subscribed  # type: ignore[method-assign,assignment]
        return pubsub

    second._subscription.open = slow  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS):
        early = asyncio.ensure_future(second.pull(PullRequest("early", wait=60)))
        await begun.wait()
        late = asyncio.ensure_future(second.pull(PullRequest("late", wait=60)))
        while second._subscription.busy < 2:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0)
        go.set()
        for name, pull in (("early", early), ("late", late)):
            await until_tried(second, name)
            await first.push(PushRequest(name, batch_of(b"a\n")))
            assert isinstance(await pull, Pulled)


@pytest.mark.parametrize("exists", [True, False])
async def test_a_clock_that_goes_back_hides_nothing(
    two: tuple[RedisStore, RedisStore], clock: Clock, exists: bool
) -> None:
    first, second = two
    if exists:
        await first.push(push(b""))
    pull = asyncio.ensure_future(second.pull(PullRequest("q", wait=60)))
    await until_tried(second, "q")
    clock.behind = 20.0
    await first.push(push(b"a\n"))
    async with asyncio.timeout(SECONDS):
        answer = await pull
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (State(9, "a", 3, "g"), State(5, "a", 4, "g"), Order.NEWER),
        (State(5, "a", 4, "g"), State(9, "a", 3, "g"), Order.OLDER),
        (State(5, "a", 4, "g"), State(5, "a", 4, "g"), Order.NEWER),
        (State(9, "a", 9, "g"), State(5, "a", 4, "h"), Order.DOUBTFUL),
        (State(5, "a", 4, "g"), State(9, "b", 1, "g"), Order.NEWER),
        (State(9, "a", 4, "g"), State(5, "b", 1, "g"), Order.DOUBTFUL),
        (State(9), State(5), Order.DOUBTFUL),
        (State(5), State(9), Order.NEWER),
    ],
)
def test_changes_are_counted_and_times_compared_at_need(
    first: State, second: State, wanted: Order
) -> None:
    assert order(first, second) is wanted
