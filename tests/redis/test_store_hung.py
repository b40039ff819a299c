"""Redis stands still: its connections are there, and no answer comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from support.redis_servers import RedisServer
from support.redis_stores import until_tried

from batchq import errors
from batchq.lines import batch_of
from batchq.model import PullRequest, PushRequest
from batchq.stores.redis import RedisStore

CLIENTS_WAIT = 10.0
"""Seconds beyond a call's own wait after which a client gives up: the protocol says so."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"{redis.url}?timeout=1.5&connections=2")
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def test_waits_that_end_meanwhile_are_told_together(
    redis: RedisServer, store: RedisStore
) -> None:
    await store.push(PushRequest("q", batch_of(b"")))
    wait = 2.0
    pulls = [asyncio.ensure_future(store.pull(PullRequest("q", wait=wait))) for _ in range(20)]
    await until_tried(store, "q", len(pulls))
    redis.pause()
    try:
        async with asyncio.timeout(wait + CLIENTS_WAIT):
            told = await asyncio.gather(*pulls, return_exceptions=True)
    finally:
        redis.resume()
    assert {type(error) for error in told} == {errors.StoreUnavailable}


async def test_nobody_waits_in_line_for_it(redis: RedisServer, store: RedisStore) -> None:
    """There are two connections, and each answer that does not come takes its time."""
    await store.push(PushRequest("q", batch_of(b"")))
    redis.pause()
    pushes = [store.push(PushRequest(f"q{number}", batch_of(b"a\n"))) for number in range(40)]
    try:
        async with asyncio.timeout(CLIENTS_WAIT):
            told = await asyncio.gather(*pushes, return_exceptions=True)
    finally:
        redis.resume()
    assert all(isinstance(error, errors.StoreUnavailable) for error in told), told
    async with asyncio.timeout(30):
        while store.failure() is not None:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)
    assert (await store.push(PushRequest("q", batch_of(b"a\n")))).offset == 0
