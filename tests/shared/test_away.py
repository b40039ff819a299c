"""Redis is stopped, killed and stands still while two servers work on it; servers are killed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from support.ports import free_port
from support.redis_servers import RedisServer, cluster, sentinels
from support.servers import ServerProcess
from support.shared import Copies, accounted, killed

TIMES = 3
Two = tuple[ServerProcess, ServerProcess]
Start = Callable[[str], Two]


def is_ready(server: ServerProcess) -> bool:
    return httpx.get(f"{server.url}/readyz").is_success


def noticed(server: ServerProcess) -> None:
    """Waits until a server says that Redis is away."""
    give_up = time.monotonic() + 30
    while is_ready(server):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def stop(redis: RedisServer, server: ServerProcess) -> None:
    del server
    redis.restart()


def stop_for_long(redis: RedisServer, server: ServerProcess) -> None:
    redis.stop()
    noticed(server)
    redis.start()


def kill(redis: RedisServer, server: ServerProcess) -> None:
    redis.kill()
    noticed(server)
    redis.start()


def kill_for_a_moment(redis: RedisServer, server: ServerProcess) -> None:
    del server
    redis.kill()
    redis.start()


def pause(redis: RedisServer, server: ServerProcess) -> None:
    redis.pause()
    noticed(server)
    redis.resume()


HARMS = [stop, stop_for_long, kill, kill_for_a_moment, pause]


@pytest.mark.parametrize("harm", HARMS)
def test_a_copy_over_two_servers_ends_identical(
    lasting: RedisServer,
    two_on: Start,
    tmp_path: Path,
    harm: Callable[[RedisServer, ServerProcess], None],
) -> None:
    first, second = two_on(f"{lasting.url}?timeout=1")
    with Copies(first.url, second.url, tmp_path) as copies:
        for part in range(1, TIMES + 1):
            copies.wait_for(part / (TIMES + 2))
            assert copies.running
            harm(lasting, second)
        copies.assert_identical()


@pytest.mark.parametrize("harm", HARMS)
async def test_the_account_adds_up(
    lasting: RedisServer,
    two_on: Start,
    harm: Callable[[RedisServer, ServerProcess], None],
) -> None:
    servers = two_on(f"{lasting.url}?timeout=1")
    turns = asyncio.Lock()
    harmed = 0

    async def strike(seq: int) -> None:
        nonlocal harmed
        if seq in (4, 10, 16):
            async with turns:
                await asyncio.to_thread(harm, lasting, servers[1])
                harmed += 1

    await accounted([server.url for server in servers], "q", 1, strike)
    assert harmed == TIMES


def test_a_server_that_is_killed_loses_nothing(lasting: RedisServer, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]

    def started(which: int) -> ServerProcess:
        return ServerProcess("--store", lasting.url, "--port", str(ports[which])).start()

    servers = [started(0), started(1)]
    try:
        with Copies(servers[0].url, servers[1].url, tmp_path) as copies:
            for part in range(1, 5):
                copies.wait_for(part / 6)
                assert copies.running
                servers[part % 2].kill()
                servers[part % 2] = started(part % 2)
            copies.assert_identical()
    finally:
        for server in servers:
            server.kill()


@pytest.mark.parametrize("side", ["writer", "reader"])
def test_a_copy_that_is_killed_is_resumed(
    lasting: RedisServer, two_on: Start, tmp_path: Path, side: str
) -> None:
    first, second = two_on(lasting.url)
    with Copies(first.url, second.url, tmp_path) as copies:
        for part in range(1, TIMES + 1):
            copies.wait_for(part / (TIMES + 2))
            killed(getattr(copies, side))
            copies.resumed()
        copies.assert_identical()


async def test_while_it_is_away_calls_are_told_and_waiting_pulls_wait_on(
    lasting: RedisServer, two_on: Start
) -> None:
    first, second = two_on(lasting.url)
    async with httpx.AsyncClient(timeout=60) as http:
        created = await http.post(f"{first.url}/push/q", content=b"")
        assert created.is_success
        pulls = [
            asyncio.ensure_future(http.post(f"{server.url}/pull/q?wait=50&max=1"))
            for server in (first, second)
        ]
        for server in (first, second):
            while (await http.get(f"{server.url}/queues/q")).json()["waiting_pulls"] < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        lasting.kill()
        told = await http.post(f"{first.url}/push/q", content=b"lost\n")
        assert told.status_code == 503
        assert told.json()["code"] == "store-unavailable"
        assert int(told.headers["retry-after"]) >= 1
        while is_ready(second):  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.01)
        ready = await http.get(f"{second.url}/readyz")
        assert (ready.status_code, "retry-after" in ready.headers) == (503, True)
        assert not any(pull.done() for pull in pulls)
        lasting.start()
        while not (await http.post(f"{first.url}/push/q", content=b"a\nb\n")).is_success:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        answers = await asyncio.gather(*pulls)
    assert {answer.text for answer in answers} == {"a\n", "b\n"}


def test_a_server_does_not_start_without_redis(lasting: RedisServer) -> None:
    lasting.stop()
    with pytest.raises(RuntimeError, match="can't be reached"):
        ServerProcess("--store", lasting.url).start()


@contextmanager
def everything(kind: str) -> Iterator[tuple[str, list[RedisServer]]]:
    """Some Redis: its URL, and all processes that belong to it."""
    with ExitStack() as stack:
        if kind == "sentinel":
            watched = stack.enter_context(sentinels())
            yield watched.url, [*watched.servers, *watched.watchers]
        elif kind == "cluster":
            nodes = stack.enter_context(cluster())
            yield nodes.url, nodes.nodes
        else:
            redis = stack.enter_context(RedisServer())
            yield redis.url, [redis]


@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
async def test_a_server_ends_while_redis_stands_still(kind: str) -> None:
    """With calls that are on their way, and others that wait."""
    with everything(kind) as (url, processes), ServerProcess("--store", f"{url}?timeout=2") as one:
        async with httpx.AsyncClient(base_url=one.url, timeout=60) as http:
            await http.post("/push/q", content=b"a\n")
            calls = [asyncio.ensure_future(http.post("/pull/none?wait=60")) for _ in range(3)]
            calls += [asyncio.ensure_future(http.post(f"/pull/q{n}?wait=60")) for n in range(9)]
            while (await http.get("/queues/q")).is_error:  # noqa: ASYNC110  they are on their way
                await asyncio.sleep(0)
            for process in processes:
                process.pause()
            calls += [
                asyncio.ensure_future(http.post(f"/{verb}/q{n}", content=b"a\n"))
                for n in range(9)
                for verb in ("push", "pull", "close")
            ]
            await asyncio.sleep(0)
            assert await asyncio.to_thread(one.stop, signal.SIGTERM) == 0
            await asyncio.gather(*calls, return_exceptions=True)
        for process in processes:
            process.resume()
