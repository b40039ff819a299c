"""Whatever is under way when a store is closed, no connection is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio.connection import ConnectionPool
from support.redis_servers import RedisServer, sentinels

from batchq import errors
from batchq.stores.redis import RedisStore

SECONDS = 20


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"{redis.url}?prefix=closing")
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


class Held:
    """Something that is done only when it is let go.

    Args:
        real: what does it.

    Attributes:
        reached: it is held up.
        go_on: set it to let it go.
    """

    def __init__(self, real: Callable[..., Awaitable[Any]]) -> None:
        self._real = real
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def call(self, *args: Any, **options: Any) -> Any:
        self.reached.set()
        await self.go_on.wait()
        return await self._real(*args, **options)


def pool_of(store: RedisStore) -> ConnectionPool:
    pool: ConnectionPool = store._link._client.connection_pool  # type: ignore[attr-defined]
    return pool


def is_open(pool: ConnectionPool) -> bool:
    return any(
        each.is_connected for each in [*pool._available_connections, *pool._in_use_connections]
    )


async def test_a_call_that_was_given_up_while_the_primary_was_looked_for() -> None:
    with sentinels() as servers:
        store = RedisStore(servers.url)
        await store.start()
        pool: Any = pool_of(store)
        await pool.disconnect()
        held = Held(pool.get_master_address)
        pool.get_master_address = held.call
        call = asyncio.ensure_future(store._link.plain("PING"))
        await held.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(SECONDS):
            await store.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not is_open(pool)


async def test_a_call_that_was_just_connecting(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool: Any = pool_of(store)
    await pool.disconnect()
    connecting = Held(pool.connection_class._connect)

    async def connect(connection: Any) -> None:
        await connecting.call(connection)

    monkeypatch.setattr(pool.connection_class, "_connect", connect)
    call = asyncio.ensure_future(store.stats("q", None))
    async with asyncio.timeout(SECONDS):
        await connecting.reached.wait()
        disconnect = pool.disconnect

        async def disconnected() -> None:
            await disconnect()
            connecting.go_on.set()

        pool.disconnect = disconnected
        await store.stop()
        with suppress(errors.BatchqError):
            await call
    assert not is_open(pool)


async def test_a_subscription_whose_goodbye_is_cancelled_says_it(store: RedisStore) -> None:
    async with asyncio.timeout(SECONDS):
        await store._subscription.follow("q")
        (one,) = store._subscription._by_node.values()
        pubsub: Any = one._pubsub
        held = Held(pubsub.connection.disconnect)
        pubsub.connection.disconnect = held.call
        closing = asyncio.ensure_future(one._close())
        await held.reached.wait()
        closing.cancel()
        await asyncio.sleep(0)
        held.go_on.set()
        await asyncio.wait({closing})
    assert pubsub.connection is None
