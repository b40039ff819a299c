"""The same short piece of work on every Redis and Valkey there is."""

from __future__ import annotations

import asyncio
import platform
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from support.redis_servers import RedisServer, binaries, cluster, sentinels

from batchq import errors
from batchq.lines import batch_of
from batchq.model import (
    CloseRequest,
    End,
    Nothing,
    Numbering,
    Pulled,
    PullRequest,
    PushRequest,
)
from batchq.stores.redis import RedisStore

FOUND = binaries()
Two = tuple[RedisStore, RedisStore]


@pytest.fixture(scope="session", params=sorted(FOUND))
def version(request: pytest.FixtureRequest) -> str:
    return FOUND[request.param]


@pytest.fixture(scope="session")
def single(version: str) -> Iterator[str]:
    with RedisServer(version) as server:
        yield server.url


@pytest.fixture
async def two(single: str) -> AsyncIterator[Two]:
    """Two stores on one Redis, with keys of their own."""
    async with AsyncExitStack() as stack:
        url = f"{single}?prefix=t{secrets.token_hex(6)}"
        stores = (RedisStore(url), RedisStore(url))
        for store in stores:
            await store.start()
            stack.push_async_callback(store.stop)
        yield stores


def push(body: bytes, seq: int | None = None, **how: object) -> PushRequest:
    number = None if seq is None else Numbering("p", 0, seq)
    return PushRequest("q", batch_of(body), number, **how)  # type: ignore[arg-type]


def test_the_versions_that_are_to_be_tested_are_there() -> None:
    wanted = {"system"}
    if sys.platform == "linux" and platform.machine() == "x86_64":
        wanted |= {"redis-8.2", "valkey-9.1"}
        # The wheels of 6.2 end with this Python.
        wanted |= {"redis-6.2"} if sys.version_info < (3, 12) else set()
    assert set(FOUND) >= wanted


async def test_lines_go_in_at_one_and_out_at_the_other(two: Two) -> None:
    first, second = two
    for seq in range(3):
        pushed = await first.push(push(b"a\nbb\n", seq))
        assert (pushed.offset, pushed.position) == (2 * seq, 5 * seq)
    assert (await second.push(push(b"a\nbb\n", 2))).duplicate
    leased = await second.pull(PullRequest("q", max=3, lease=50, lease_id="mine"))
    assert isinstance(leased, Pulled)
    assert (leased.offset, leased.data) == (0, b"a\nbb\na\n")
    again = await first.pull(PullRequest("q", max=3, lease=50, lease_id="mine"))
    assert isinstance(again, Pulled)
    assert (again.offset, again.data) == (leased.offset, leased.data)
    await first.release("q", ["mine"], None)
    rest = await second.pull(PullRequest("q"))
    assert isinstance(rest, Pulled)
    assert (rest.offset, rest.data) == (0, b"a\nbb\n" * 3)
    end = await first.close(CloseRequest("q", lines=6, numbering=Numbering("p", 0, 3)))
    assert end.lines == 6
    assert isinstance(await second.pull(PullRequest("q")), End)
    with pytest.raises(errors.QueueClosed):
        await second.push(push(b"late\n"))


async def test_waiting_calls_hear_of_the_other_server(two: Two) -> None:
    first, second = two
    await first.push(push(b""))
    pull = asyncio.ensure_future(second.pull(PullRequest("q", min=2, wait=60)))
    ahead = asyncio.ensure_future(second.push(push(b"b\n", 1)))
    while (await second.stats("q", None)).parked_pushes < 1:  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.005)
    await first.push(push(b"a\n", 0))
    async with asyncio.timeout(30):
        assert (await ahead).offset == 1
        answer = await pull
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\nb\n"


async def test_a_lease_runs_out_on_the_clock_of_redis(two: Two) -> None:
    first, second = two
    await first.push(push(b"a\n"))
    assert isinstance(await first.pull(PullRequest("q", lease=0.2)), Pulled)
    assert isinstance(await second.pull(PullRequest("q")), Nothing)
    async with asyncio.timeout(30):
        answer = await second.pull(PullRequest("q", wait=20))
    assert isinstance(answer, Pulled)
    assert answer.deliveries == 2


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_sentinel_and_cluster(version: str, kind: str) -> None:
    make = sentinels if kind == "sentinel" else cluster
    with make(version) as servers:
        first, second = RedisStore(servers.url), RedisStore(servers.url)
        await first.start()
        await second.start()
        try:
            for number in range(20):
                request = PushRequest(f"q{number}", batch_of(b"a\n"))
                assert (await first.push(request)).offset == 0
                answer = await second.pull(PullRequest(f"q{number}"))
                assert isinstance(answer, Pulled)
            assert len(await second.queues()) == 20
        finally:
            async with asyncio.timeout(20):
                await first.stop()
                await second.stop()
