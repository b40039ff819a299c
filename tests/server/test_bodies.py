from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import httpx
import pytest
from support.clients import client_of
from support.problems import problem_in, problem_of
from support.servers import LocalServer, serving
from support.waiting import until, until_parked

from batchq.app import Settings
from batchq.model import Batch, Numbering, PushRequest

NUMBERED = {"Producer-Id": "w", "Producer-Epoch": "0"}


async def nothing_was_added(served: LocalServer) -> None:
    """Shows that the server goes on and has no queue."""
    async with client_of(served.url) as http:
        assert (await http.get("/queues")).json() == {"queues": []}
        assert (await http.post("/push/after", content=b"a\n")).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /push/q HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na\nb\n",
        b"POST /push/q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na\nb\n\r\n",
        b"POST /push/q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na\nb\n",
        b"POST /push/q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\na\nb\n",
        b"POST /close/q HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{}",
    ],
    ids=["length", "chunks", "in a chunk", "bad chunk", "close"],
)
async def test_a_body_that_breaks_off_adds_nothing_over_http1(
    served: LocalServer, request_: bytes
) -> None:
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(request_)
    writer.write_eof()
    answer = await reader.read()
    assert b" 200" not in answer
    writer.close()
    await writer.wait_closed()
    await nothing_was_added(served)


@pytest.mark.parametrize("how", ["reset", "closed"])
async def test_a_body_that_breaks_off_adds_nothing_over_http2(
    served: LocalServer, how: str
) -> None:
    reader, writer = await asyncio.open_connection(*served.address)
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, head("/push/q"))
    client.send_data(1, b"a\nb\n")
    if how == "reset":
        client.reset_stream(1)
        client.ping(b"12345678")
    writer.write(client.data_to_send())
    await writer.drain()
    if how == "reset":
        acknowledged = False
        while not acknowledged:
            events = client.receive_data(await reader.read(65536))
            acknowledged = any(type(event).__name__ == "PingAckReceived" for event in events)
    writer.close()
    await writer.wait_closed()
    await nothing_was_added(served)


def head(path: str) -> list[tuple[str, str]]:
    return [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "x")]


async def slowly(*pieces: bytes, go: asyncio.Event) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    await go.wait()


async def test_a_length_above_the_limit_is_told_before_the_body_comes() -> None:
    async with serving(settings=Settings(max_body=10)) as served:
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(b"POST /push/q HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413")
        problem_in(await reader.readline(), "application/problem+json", 413, 413, "too-large")
        writer.close()
        await writer.wait_closed()
        await nothing_was_added(served)


async def test_a_count_above_the_limit_is_told_as_soon_as_it_passes() -> None:
    async with serving(settings=Settings(max_body=10)) as served:
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(b"POST /push/q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"5\r\n12345\r\n6\r\n123456\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413")
        problem_in(await reader.readline(), "application/problem+json", 413, 413, "too-large")
        writer.close()
        await writer.wait_closed()
        await nothing_was_added(served)


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with serving(settings=Settings(max_body=10)) as served, client_of(served.url) as http:
        assert (await http.post("/push/q", content=b"x" * 9 + b"\n")).status_code == 200
        assert (await http.post("/push/q", content=b"x" * 10)).status_code == 200
        problem_of(await http.post("/push/q", content=b"x" * 11), 413, "too-large")
        assert (await http.get("/queues/q")).json()["lines"] == 2


@pytest.mark.parametrize("path", ["/pull/q", "/ack/q?lease=a", "/nope", "/queues/q", "/push/.q"])
async def test_an_unwanted_body_costs_nobody_the_connection(
    http: httpx.AsyncClient, aside: httpx.AsyncClient, path: str
) -> None:
    waiting = asyncio.create_task(http.post("/pull/other?wait=60"))
    method = "DELETE" if path.startswith("/queues") else "POST"
    answer = await http.request(method, path, content=b"x" * 300_000)
    assert answer.status_code in (400, 404, 413)
    problem_of(answer, answer.status_code, answer.json()["code"])
    await aside.post("/push/other", content=b"a\n")
    assert (await waiting).content == b"a\n"


async def test_a_numbered_batch_whose_body_comes_late_keeps_its_place(
    http: httpx.AsyncClient, served: LocalServer
) -> None:
    await served.store.push(PushRequest("q", Batch(b"0\n", 1), Numbering("w", 0, 0)))
    # Until the server's settings are here, stock httpx opens one stream and no more.
    await http.get("/healthz")
    go = asyncio.Event()
    late = asyncio.create_task(
        http.post(
            "/push/q", content=slowly(b"1a\n1", go=go), headers={**NUMBERED, "Producer-Seq": "1"}
        )
    )
    early = [
        asyncio.create_task(
            http.post(
                "/push/q",
                content=b"%d\n" % seq,
                headers={**NUMBERED, "Producer-Seq": str(seq)},
            )
        )
        for seq in (3, 2)
    ]
    await until_parked(served.store, "q", 2)
    stats = await until(served.store, "q", lambda stats: stats.parked_pushes == 2)
    assert stats.lines == 1
    go.set()
    answers = [await late, *await asyncio.gather(*early)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert (await http.post("/pull/q")).content == b"0\n1a\n1\n2\n3\n"


async def test_a_body_in_many_pieces_is_one_batch(http: httpx.AsyncClient) -> None:
    done = asyncio.Event()
    done.set()
    pieces = [b"line %d" % number + b"\n" * (number % 3) for number in range(500)]
    answer = await http.post("/push/q", content=slowly(*pieces, go=done))
    whole = b"".join(pieces)
    assert answer.headers["batch-lines"] == str(whole.count(b"\n") + (not whole.endswith(b"\n")))
    got = await http.post("/pull/q")
    assert got.content == whole + b"\n" * (not whole.endswith(b"\n"))
