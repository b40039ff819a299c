"""Connections that break in ways that redis-py or the event loop has words of its own for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from redis import exceptions
from support.faults import Fault, Kind, Way
from support.proxy import Proxy
from support.redis_servers import RedisServer
from support.redis_stores import until_tried

from batchq.errors import StoreUnavailable
from batchq.lines import batch_of
from batchq.model import Pulled, PullRequest, PushRequest
from batchq.stores.redis import RedisStore
from batchq.stores.redis.health import Health

SECONDS = 30
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
"""The server runs on uvloop."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def push(queue: str, body: bytes) -> PushRequest:
    return PushRequest(queue, batch_of(body))


@pytest.mark.parametrize("factory", LOOPS)
@pytest.mark.parametrize("reset", [True, False])
def test_idle_connections_that_end_are_no_reason_to_bother_the_client(
    redis: RedisServer, factory: Callable[[], asyncio.AbstractEventLoop], *, reset: bool
) -> None:
    """As where a firewall forgets them: uvloop's word for one that is reset is a RuntimeError."""

    async def work() -> list[int]:
        async with Proxy(redis.address) as proxy:
            host, port = proxy.address
            store = RedisStore(f"redis://{host}:{port}?prefix={factory.__module__}{reset}")
            await store.start()
            try:
                first = await store.push(push("q", b"a\n"))
                pool: Any = store._link._client.connection_pool  # type: ignore[attr-defined]
                idle = [one._writer for one in pool._available_connections if one.is_connected]
                proxy.cut_all(reset=reset)
                async with asyncio.timeout(SECONDS):
                    while not (idle and all(one.is_closing() for one in idle)):  # noqa: ASYNC110
                        await asyncio.sleep(0)
                return [first.offset, (await store.push(push("q", b"b\n"))).offset]
            finally:
                await store.stop()

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(work()) == [0, 1]


@pytest.mark.parametrize("factory", LOOPS)
def test_a_subscription_that_goes_silent_harms_no_call_and_is_made_anew(
    redis: RedisServer, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Its connection is used by nobody else, neither before nor after it is given up."""
    prefix = f"silent{factory.__module__}"

    async def work() -> None:
        async with Proxy(redis.address) as proxy:
            host, port = proxy.address
            store = RedisStore(f"redis://{host}:{port}?prefix={prefix}&timeout=1")
            other = RedisStore(f"{redis.url}?prefix={prefix}")
            failed: Counter[str] = Counter()
            answered = False

            async def calls() -> None:
                while not answered:
                    try:
                        await store.stats("busy", None)
                    except Exception as error:  # noqa: BLE001  any would be one too many
                        failed[repr(error)] += 1
                    await asyncio.sleep(0)

            await store.start()
            await other.start()
            try:
                for queue in ("q", "busy"):
                    await store.push(push(queue, b""))
                pull = asyncio.ensure_future(store.pull(PullRequest("q", wait=60)))
                await until_tried(store, "q")
                await store.flush()
                while store.busy:  # noqa: ASYNC110  the store tells nobody
                    await asyncio.sleep(0)
                # What is sent next is the question for a sign of life.
                proxy.inject(Fault(Kind.BLACK_HOLE, Way.TO_CLIENT, after=0, seconds=60.0))
                async with asyncio.timeout(SECONDS):
                    await proxy.struck()
                callers = [asyncio.ensure_future(calls()) for _ in range(3)]
                await other.push(push("q", b"a\n"))
                async with asyncio.timeout(SECONDS):
                    answer = await pull
                answered = True
                await asyncio.gather(*callers)
            finally:
                answered = True
                await store.stop()
                await other.stop()
        assert isinstance(answer, Pulled)
        assert answer.data == b"a\n"
        assert not failed

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work())


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("closed"), KeyError("unheard of")])
async def test_it_is_asked_again_whether_redis_is_back_however_that_failed(
    error: Exception,
) -> None:
    """Nobody else asks meanwhile, so that it would be away for ever."""
    back, asked = asyncio.Event(), 0

    async def probe(_key: str) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise error

    health = Health(probe, back.set)
    health.note_down("", "key", OSError("gone"))
    async with asyncio.timeout(SECONDS):
        await back.wait()
    assert health.down is None
    await health.stop()


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("closed"), KeyError("unheard of")])
async def test_changes_are_listened_to_again_however_the_subscription_failed(
    redis: RedisServer, error: Exception
) -> None:
    url = f"{redis.url}?prefix=again{type(error).__name__}"
    first, second = RedisStore(url), RedisStore(url)
    await first.start()
    await second.start()
    try:
        await first.push(push("q", b""))
        pull = asyncio.ensure_future(second.pull(PullRequest("q", wait=60)))
        await until_tried(second, "q")
        open_, tried = second._subscription.open, asyncio.Event()

        async def fails(node: str) -> Any:
            second._subscription.open = open_  # type: ignore[method-assign]
            tried.set()
            raise error

        second._subscription.open = fails  # type: ignore[method-assign]
        pubsub: Any = second._subscription._by_node[""]._pubsub
        await pubsub.connection.disconnect()
        async with asyncio.timeout(SECONDS):
            await tried.wait()
            await first.push(push("q", b"a\n"))
            answer = await pull
    finally:
        await first.stop()
        await second.stop()
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"


async def test_a_slot_that_moves_is_no_node_that_is_away(redis: RedisServer) -> None:
    """redis-py closes connections that calls use when it looks around anew, as a move makes it."""
    store = RedisStore(f"{redis.url}?prefix=moves")
    await store.start()
    try:
        told = iter([exceptions.TryAgainError("TRYAGAIN Multiple keys request during rehashing")])

        async def send(*_command: Any) -> Any:
            raise next(told, exceptions.ConnectionError("Connection closed by server."))

        store._link._send = send  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable, match="being moved"):
            await store.stats("q", None)
        assert store.failure() is None
        with pytest.raises(StoreUnavailable, match="can't be reached"):
            await store.stats("q", None)
        assert store.failure() is not None
    finally:
        await store.stop()
