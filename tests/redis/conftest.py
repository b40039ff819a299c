from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from support.redis_single import SingleRedis

from batchq.model import Limits
from batchq.stores.redis import RedisStore

Open = Callable[..., RedisStore]


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[SingleRedis]:
    server = SingleRedis()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def prefixed(shared_redis: SingleRedis) -> str:
    """A URL with keys of its own."""
    return f"{shared_redis.url}?prefix=t{secrets.token_hex(6)}"


@pytest.fixture
async def store(prefixed: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(prefixed, Limits())
    await store.start()
    try:
        yield store
    finally:
        await store.stop()
