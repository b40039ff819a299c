from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest
from support.clients import client_of
from support.servers import LocalServer, serving
from support.waiting import until_waiting

from batchq.model import Batch, Limits, PushRequest

WAITING = 200
PER_CONNECTION = 50


async def exists(served: LocalServer, queue: str = "q") -> None:
    await served.store.push(PushRequest(queue, Batch(b"", 0)))


def pull(http: httpx.AsyncClient, path: str) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(http.post(path))


async def test_a_pull_before_the_queue_exists(
    http: httpx.AsyncClient, aside: httpx.AsyncClient, served: LocalServer
) -> None:
    waiting = pull(http, "/pull/q?wait=60")
    assert (await aside.get("/queues")).json() == {"queues": []}
    assert not waiting.done()
    await aside.post("/push/q", content=b"a\n")
    assert (await waiting).content == b"a\n"
    assert (await aside.get("/queues/q")).json()["ready_lines"] == 0


async def test_two_pulls_with_different_min(
    http: httpx.AsyncClient, aside: httpx.AsyncClient, served: LocalServer
) -> None:
    await exists(served)
    many = pull(http, "/pull/q?min=3&wait=60")
    await until_waiting(served.store, "q", 1)
    one = pull(http, "/pull/q?min=1&max=1&wait=60")
    await until_waiting(served.store, "q", 2)
    await aside.post("/push/q", content=b"a\n")
    assert (await one).content == b"a\n"
    assert not many.done()
    await aside.post("/push/q", content=b"b\nc\n")
    await aside.post("/push/q", content=b"d\n")
    assert (await many).content == b"b\nc\nd\n"


async def test_many_waiting_pulls_are_served_in_order(served: LocalServer) -> None:
    await exists(served)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(client_of(served.url))
            for _ in range(WAITING // PER_CONNECTION)
        ]
        pulls = []
        for index in range(WAITING):
            pulls.append(pull(clients[index % len(clients)], "/pull/q?max=1&wait=60"))
            await until_waiting(served.store, "q", index + 1)
        pusher = await stack.enter_async_context(client_of(served.url))
        for start in range(0, WAITING, 20):
            lines = b"".join(b"%d\n" % number for number in range(start, start + 20))
            await pusher.post("/push/q", content=lines)
        answers = await asyncio.gather(*pulls)
    assert [answer.content for answer in answers] == [b"%d\n" % index for index in range(WAITING)]


async def test_partial_gives_what_there_is(aside: httpx.AsyncClient) -> None:
    await aside.post("/push/q", content=b"a\nb\n")
    assert (await aside.post("/pull/q?min=3&wait=0.05&partial=false")).status_code == 204
    assert (await aside.post("/pull/q?min=3&wait=0&partial=false")).status_code == 204
    assert (await aside.post("/pull/q?min=3&wait=0.05")).content == b"a\nb\n"


async def test_close_ends_the_wait_below_min(
    http: httpx.AsyncClient, aside: httpx.AsyncClient, served: LocalServer
) -> None:
    await exists(served)
    waiting = pull(http, "/pull/q?min=3&wait=60&partial=false")
    await until_waiting(served.store, "q", 1)
    await aside.post("/push/q", content=b"a\nb\n")
    await until_waiting(served.store, "q", 1)
    await aside.post("/close/q")
    assert (await waiting).content == b"a\nb\n"


async def test_close_tells_the_end_to_those_that_wait(
    http: httpx.AsyncClient, aside: httpx.AsyncClient, served: LocalServer
) -> None:
    await exists(served)
    waiting = [pull(http, "/pull/q?wait=60") for _ in range(3)]
    await until_waiting(served.store, "q", 3)
    await aside.post("/close/q")
    for answer in await asyncio.gather(*waiting):
        assert answer.status_code == 204
        assert answer.headers["queue-closed"] == "true"


async def test_a_full_queue_ends_the_wait_below_min() -> None:
    async with (
        serving(limits=Limits(queue_bytes=4)) as served,
        client_of(served.url) as http,
        client_of(served.url) as aside,
    ):
        await exists(served)
        waiting = pull(http, "/pull/q?min=3&wait=60&partial=false")
        await until_waiting(served.store, "q", 1)
        await aside.post("/push/q", content=b"a\nb\n")
        assert (await waiting).content == b"a\nb\n"


async def test_a_push_waits_for_room() -> None:
    async with (
        serving(limits=Limits(queue_bytes=4)) as served,
        client_of(served.url) as http,
        client_of(served.url) as aside,
    ):
        await aside.post("/push/q", content=b"abc\n")
        push = asyncio.create_task(http.post("/push/q?wait=60", content=b"d\n"))
        assert (await aside.get("/queues/q")).json()["ready_lines"] == 1
        assert (await aside.post("/pull/q?max=1")).content == b"abc\n"
        assert (await push).headers["batch-offset"] == "1"


@pytest.mark.parametrize("version", ["http1", "http2"])
async def test_a_client_that_leaves_takes_nothing(served: LocalServer, version: str) -> None:
    await exists(served)
    second = version == "http2"
    async with httpx.AsyncClient(base_url=served.url, http1=not second, http2=second) as http:
        waiting = pull(http, "/pull/q?wait=60")
        await until_waiting(served.store, "q", 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await until_waiting(served.store, "q", 0)
    async with client_of(served.url) as aside:
        await aside.post("/push/q", content=b"a\n")
        assert (await aside.post("/pull/q?wait=0")).content == b"a\n"


async def test_the_end_answers_what_waits() -> None:
    async with serving() as served, client_of(served.url) as http, client_of(served.url) as aside:
        await exists(served)
        waiting = [pull(http, "/pull/q?wait=60") for _ in range(5)]
        await until_waiting(served.store, "q", 5)
        served.store.drain()
        for answer in await asyncio.gather(*waiting):
            assert answer.status_code == 204
        assert (await aside.post("/pull/q?wait=60")).status_code == 204
        refused = await aside.post("/push/q", content=b"a\n")
        assert refused.status_code == 503
        assert refused.json()["code"] == "shutting-down"
        assert refused.headers["retry-after"]
