"""Which connections there are, who waits for a place on them, and how they end."""

import asyncio
from typing import Any

import httpx
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from support.servers import serving
from transport.http_clients import multiplex_client
from transport.raw_server import PATIENCE, RawServer, data, reset

from batchq_client.transport import MultiplexTransport, safe_to_resend
from batchq_client.transport.connection import Connection

LIMIT = SettingsFrame.MAX_CONCURRENT_STREAMS


def start(client: httpx.AsyncClient, url: str, **options: Any) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(client.get(url, **options))


def connections_of(client: httpx.AsyncClient) -> list[Connection]:
    """All whose sockets may be open."""
    assert isinstance(client._transport, MultiplexTransport)
    return [each for pool in client._transport._pools.values() for each in pool._connections]


async def test_one_connection_serves_requests_that_come_at_once(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    tasks = [start(client, raw.url) for _ in range(50)]
    peer = await raw.peer()
    for _ in tasks:
        stream_id, _ = await peer.request()
        await peer.answer(stream_id)
    await asyncio.gather(*tasks)
    assert raw.waiting == 0


async def test_many_requests_over_few_streams_are_served_in_order(raw: RawServer) -> None:
    async with multiplex_client(max_connections=1) as client:
        tasks = [start(client, f"{raw.url}/{n}") for n in range(2000)]
        peer = await raw.peer({LIMIT: 3})
        for number in range(2000):
            stream_id, fields = await peer.request()
            assert fields[b":path"] == b"/%d" % number
            await peer.answer(stream_id)
        assert all(r.status_code == 200 for r in await asyncio.gather(*tasks))
        assert raw.waiting == 0


async def test_no_place_in_time_is_a_pool_timeout(raw: RawServer) -> None:
    async with multiplex_client(max_connections=1) as client:
        first = start(client, raw.url)
        peer = await raw.peer({LIMIT: 1})
        stream_id, _ = await peer.request()
        with pytest.raises(httpx.PoolTimeout) as caught:
            await client.get(raw.url, timeout=httpx.Timeout(10, pool=0.05))
        assert safe_to_resend(caught.value)
        await peer.answer(stream_id)
        assert (await first).status_code == 200
        assert len(peer.seen(HeadersFrame)) == 1


async def test_a_request_that_gives_up_waiting_leaves_its_place_to_the_next(
    raw: RawServer,
) -> None:
    async with multiplex_client(max_connections=1) as client:
        first = start(client, raw.url)
        peer = await raw.peer({LIMIT: 1})
        stream_id, _ = await peer.request()
        second, third = start(client, f"{raw.url}/2"), start(client, f"{raw.url}/3")
        await peer.ping()
        second.cancel()
        await peer.answer(stream_id)
        stream_id, fields = await peer.request()
        assert fields[b":path"] == b"/3"
        await peer.answer(stream_id)
        await asyncio.gather(first, third)


async def test_a_limit_that_is_lowered_is_kept(raw: RawServer) -> None:
    async with multiplex_client(max_connections=1) as client:
        tasks = [start(client, raw.url) for _ in range(2)]
        peer = await raw.peer({LIMIT: 2})
        opened = [(await peer.request())[0] for _ in range(2)]
        await peer.send(SettingsFrame(0, settings={LIMIT: 1}))
        await peer.ping()
        tasks += [start(client, raw.url) for _ in range(2)]
        await peer.answer(opened[0])
        await peer.ping()
        assert len(peer.seen(HeadersFrame)) == 2
        await peer.answer(opened[1])
        for _ in range(2):
            stream_id, _ = await peer.request()
            await peer.ping()
            await peer.answer(stream_id)
        await asyncio.gather(*tasks)


async def test_a_limit_that_is_raised_lets_those_who_wait_in(raw: RawServer) -> None:
    async with multiplex_client(max_connections=1) as client:
        tasks = [start(client, raw.url) for _ in range(2)]
        peer = await raw.peer({LIMIT: 1})
        first, _ = await peer.request()
        await peer.send(SettingsFrame(0, settings={LIMIT: 2}))
        second, _ = await peer.request()
        await peer.answer(first)
        await peer.answer(second)
        await asyncio.gather(*tasks)


async def test_roles_have_connections_of_their_own(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    poll = start(client, raw.url, extensions={"batchq.role": "poll"})
    first = await raw.peer()
    first_id, _ = await first.request()
    bulk = start(client, raw.url, extensions={"batchq.role": "bulk"})
    second = await raw.peer()
    second_id, _ = await second.request()
    await first.answer(first_id)
    await second.answer(second_id)
    await asyncio.gather(poll, bulk)


async def test_a_refused_connection_is_a_connect_error(client: httpx.AsyncClient) -> None:
    async with RawServer.run() as gone:
        pass
    outcomes = await asyncio.gather(
        *[client.get(gone.url) for _ in range(5)], return_exceptions=True
    )
    assert all(isinstance(outcome, httpx.ConnectError) for outcome in outcomes)
    assert all(safe_to_resend(o) for o in outcomes if isinstance(o, Exception))


async def test_a_url_that_is_not_http_is_unsupported(client: httpx.AsyncClient) -> None:
    request = httpx.Request("GET", "ftp://host/file")
    async with MultiplexTransport() as transport:
        with pytest.raises(httpx.UnsupportedProtocol):
            await transport.handle_async_request(request)


async def test_an_idle_connection_is_closed_with_a_word(raw: RawServer) -> None:
    async with multiplex_client(idle_timeout=0.05) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        await peer.answer(stream_id)
        await task
        assert (await peer.next(GoAwayFrame)).error_code == 0
        assert await peer.any_frame() is None


async def test_a_connection_in_use_is_not_idle(raw: RawServer) -> None:
    async with multiplex_client(idle_timeout=0.02) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        await asyncio.sleep(0.1)
        await peer.answer(stream_id)
        assert (await task).status_code == 200


async def test_closing_while_in_use_ends_every_request(raw: RawServer) -> None:
    client = multiplex_client(max_connections=1)
    waiting_for_head = start(client, raw.url)
    peer = await raw.peer({LIMIT: 2})
    await peer.request()
    reading = asyncio.create_task(client.send(client.build_request("GET", raw.url), stream=True))
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id))
    response = await reading
    waiting_for_place = start(client, raw.url)
    await peer.ping()
    await client.aclose()
    for task in (waiting_for_head, waiting_for_place):
        with pytest.raises(httpx.TransportError, match="closed"):
            await task
    with pytest.raises(httpx.ReadError, match="closed"):
        await response.aread()
    await peer.next(GoAwayFrame)


async def test_closing_while_uploading_is_a_write_error(raw: RawServer) -> None:
    client = multiplex_client()
    task = asyncio.create_task(client.post(raw.url, content=bytes(1_000_000)))
    peer = await raw.peer()
    await peer.request()
    await client.aclose()
    with pytest.raises(httpx.WriteError, match="closed"):
        await task


async def test_closing_while_connecting(raw: RawServer) -> None:
    client = multiplex_client()
    task = start(client, raw.url)
    peer = await raw.accept()
    await client.aclose()
    with pytest.raises(httpx.ConnectError, match="closed"):
        await task
    while await peer.reader.read(1000):
        pass


async def test_closing_in_whichever_turn_leaves_no_connection() -> None:
    """Also where a request has just been given a place on one that is closed now."""
    async with serving() as served:
        for turns in range(40):
            client = multiplex_client()
            task = start(client, f"{served.url}/healthz")
            for _ in range(turns):
                await asyncio.sleep(0)
            await client.aclose()
            ended = str(await asyncio.gather(task, return_exceptions=True))
            assert "200 OK" in ended or "closed" in ended
            assert not connections_of(client)


async def test_a_close_that_is_cancelled_ends_all_the_same(raw: RawServer) -> None:
    client = multiplex_client()
    roles: list[dict[str, Any]] = [{"batchq.role": "a"}, {"batchq.role": "b"}]
    tasks = [start(client, raw.url, timeout=None, extensions=role) for role in roles]
    peers = [await raw.peer(), await raw.accept()]
    await peers[0].request()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait((closing, *tasks))
        assert closing.cancelled()
        for peer in peers:
            while await peer.reader.read(1000):
                pass


async def test_what_was_refused_is_not_sent_again_after_the_close(
    raw: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, wakes = multiplex_client(), asyncio.Event()
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    monkeypatch.setattr("batchq_client.transport.transport.asyncio.sleep", lambda _: wakes.wait())
    await peer.send(reset(stream_id, ErrorCodes.REFUSED_STREAM))
    await peer.ping()
    await client.aclose()
    wakes.set()
    with pytest.raises(httpx.ConnectError, match="closed"):
        await task
    assert not connections_of(client)


async def test_a_closed_transport_is_not_used(raw: RawServer) -> None:
    transport = MultiplexTransport()
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await transport.handle_async_request(httpx.Request("GET", raw.url))


async def test_giving_up_the_only_request_gives_up_connecting(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url)
    peer = await raw.accept()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(PATIENCE):
        while await peer.reader.read(1000):
            pass
    second = start(client, raw.url)
    other = await raw.peer()
    stream_id, _ = await other.request()
    await other.answer(stream_id)
    assert (await second).status_code == 200


async def test_cancelling_many_leaves_nothing_behind(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    for _ in range(3):
        tasks = [start(client, raw.url) for _ in range(100)]
        if _ == 0:
            peer = await raw.peer({LIMIT: 100})
        for _task in tasks:
            await peer.request()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await peer.ping()
    assert len(peer.seen(RstStreamFrame)) == 300
    last = start(client, raw.url)
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id), data(stream_id, b"ok", end=True))
    assert (await last).content == b"ok"
    assert raw.waiting == 0


async def test_a_connect_that_is_cancelled_after_the_socket_opened_writes_nothing() -> None:
    """What was scheduled for it finds no transport: there is nothing to write to."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    for turns in range(6):
        async with httpx.AsyncClient(transport=MultiplexTransport()) as http:
            task = asyncio.ensure_future(http.get(f"http://{host}:{port}/"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            for _ in range(3):
                await asyncio.sleep(0)
    server.close()
    await server.wait_closed()
    assert complaints == []
