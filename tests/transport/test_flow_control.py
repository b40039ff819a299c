"""Windows and frame sizes, both ways, against a peer that counts."""

import asyncio
from typing import Any

import httpx
import pytest
from hyperframe.frame import DataFrame, Frame, SettingsFrame, WindowUpdateFrame
from transport.http_clients import multiplex_client
from transport.raw_server import RawPeer, RawServer, data, window

INITIAL_WINDOW = SettingsFrame.INITIAL_WINDOW_SIZE


def start(client: httpx.AsyncClient, url: str, **options: Any) -> "asyncio.Task[httpx.Response]":
    method = "POST" if "content" in options else "GET"
    return asyncio.create_task(client.request(method, url, **options))


async def take(peer: RawPeer, count: int) -> bytes:
    parts: list[bytes] = []
    while sum(map(len, parts)) < count:
        parts.append((await peer.next(DataFrame)).data)
    return b"".join(parts)


async def test_the_peers_windows_are_kept_to_the_byte(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    body = bytes(range(256)) * 1000
    task = start(client, raw.url, content=body)
    peer = await raw.peer({INITIAL_WINDOW: 1000})
    stream_id, _ = await peer.request()
    received = await take(peer, 1000)
    for increment in (1, 17, 5000):
        await peer.send(window(stream_id, increment))
        received += await take(peer, increment)
    await peer.ping()
    assert len(received) == sum(len(f.data) for f in peer.seen(DataFrame)) == 6018
    # Now the connection's window is the smaller one: 65,535 in all.
    await peer.send(window(stream_id, 2**30))
    received += await take(peer, 65_535 - 6018)
    await peer.ping()
    assert sum(len(f.data) for f in peer.seen(DataFrame)) == 65_535
    await peer.send(window(0, 2**30))
    received += await peer.body(stream_id)
    assert received == body
    await peer.answer(stream_id)
    assert (await task).status_code == 200


async def test_a_window_that_becomes_negative_is_waited_for(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url, content=bytes(40_000))
    peer = await raw.peer({INITIAL_WINDOW: 30_000})
    stream_id, _ = await peer.request()
    await take(peer, 30_000)
    await peer.send(SettingsFrame(0, settings={INITIAL_WINDOW: 10_000}))  # now -20,000
    await peer.send(window(stream_id, 20_000))  # now 0
    await peer.ping()
    assert sum(len(f.data) for f in peer.seen(DataFrame)) == 30_000
    await peer.send(SettingsFrame(0, settings={INITIAL_WINDOW: 20_000}))  # now 10,000
    await peer.body(stream_id)
    await peer.answer(stream_id)
    assert (await task).status_code == 200


async def test_the_end_needs_no_window(raw: RawServer, client: httpx.AsyncClient) -> None:
    async def pieces() -> Any:
        yield bytes(1000)
        await asyncio.sleep(0)

    task = start(client, raw.url, content=pieces())
    peer = await raw.peer({INITIAL_WINDOW: 1000})
    stream_id, _ = await peer.request()
    assert await peer.body(stream_id) == bytes(1000)
    await peer.answer(stream_id)
    assert (await task).status_code == 200


@pytest.mark.parametrize("size", [2**14, 2**14 + 1, 100_000])
async def test_frames_are_as_large_as_the_peer_takes(
    raw: RawServer, client: httpx.AsyncClient, size: int
) -> None:
    task = start(client, raw.url, content=bytes(300_000))
    peer = await raw.peer({SettingsFrame.MAX_FRAME_SIZE: size, INITIAL_WINDOW: 2**20})
    await peer.send(window(0, 2**20))
    stream_id, _ = await peer.request()
    await peer.body(stream_id)
    assert max(len(f.data) for f in peer.seen(DataFrame)) == size
    await peer.answer(stream_id)
    await task


async def test_a_stalled_upload_is_a_write_timeout(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url, content=bytes(100_000), timeout=httpx.Timeout(10, write=0.05))
    peer = await raw.peer({INITIAL_WINDOW: 0})
    await peer.request()
    with pytest.raises(httpx.WriteTimeout):
        await task


async def test_a_stalled_streamed_upload_is_a_write_timeout(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    async def pieces() -> Any:
        yield bytes(100_000)

    task = start(client, raw.url, content=pieces(), timeout=httpx.Timeout(10, write=0.05))
    peer = await raw.peer({INITIAL_WINDOW: 0})
    await peer.request()
    with pytest.raises(httpx.WriteTimeout):
        await task


async def test_uploads_share_the_connection_in_turn(
    raw: RawServer,
) -> None:
    async with multiplex_client(send_quantum=1000) as client:
        tasks = [start(client, raw.url, content=bytes(10_000)) for _ in range(3)]
        peer = await raw.peer()
        ended = 0
        while ended < 3:
            ended += "END_STREAM" in (await peer.next(DataFrame)).flags
        order = [f.stream_id for f in peer.seen(DataFrame)]
        assert order == [1, 3, 5] * 10
        for stream_id in (1, 3, 5):
            await peer.answer(stream_id)
        await asyncio.gather(*tasks)


async def test_what_is_not_read_is_bounded_by_the_streams_window_alone(raw: RawServer) -> None:
    async with multiplex_client(stream_window=50_000, connection_window=100_000) as client:
        request = client.build_request("GET", raw.url)
        sending = asyncio.create_task(client.send(request, stream=True))
        peer = await raw.peer()
        slow, _ = await peer.request()
        assert peer.client_settings[INITIAL_WINDOW] == 50_000
        await peer.send(peer.head(slow), *[data(slow, bytes(10_000))] * 5)
        response = await sending
        await peer.ping()
        assert not [f for f in updates(peer.frames) if f.stream_id == slow]
        # The slow reader holds its own window, not the connection's.
        fast = start(client, raw.url)
        stream_id, _ = await peer.request()
        await peer.send(peer.head(stream_id), *[data(stream_id, bytes(10_000))] * 3)
        await peer.ping()
        await peer.send(data(stream_id, end=True))
        assert len((await fast).content) == 30_000
        assert [f for f in updates(peer.frames) if f.stream_id == 0]
        # Reading opens it again.
        reading = asyncio.create_task(response.aread())
        while (await peer.next(WindowUpdateFrame)).stream_id != slow:
            pass
        await peer.send(data(slow, b"rest", end=True))
        assert len(await reading) == 50_004


async def test_a_peer_that_breaks_a_window_is_told(raw: RawServer) -> None:
    async with multiplex_client(stream_window=1000) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        await peer.send(peer.head(stream_id), data(stream_id, bytes(1001)))
        with pytest.raises(httpx.RemoteProtocolError, match="window"):
            await task


def updates(frames: list[Frame]) -> list[WindowUpdateFrame]:
    return [frame for frame in frames if isinstance(frame, WindowUpdateFrame)]


async def test_the_answer_is_read_while_the_request_is_still_sent(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    more: asyncio.Queue[bytes] = asyncio.Queue()

    async def pieces() -> Any:
        while piece := await more.get():
            yield piece

    more.put_nowait(b"first")
    request = client.build_request("POST", raw.url, content=pieces())
    sending = asyncio.create_task(client.send(request, stream=True))
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    assert await take(peer, 5) == b"first"
    await peer.send(peer.head(stream_id), data(stream_id, b"FIRST"))
    response = await sending
    answer = response.aiter_raw()
    assert await anext(answer) == b"FIRST"
    more.put_nowait(b"second")
    assert await take(peer, 6) == b"second"
    more.put_nowait(b"")
    assert await peer.body(stream_id) == b""
    await peer.send(data(stream_id, b"SECOND", end=True))
    assert [part async for part in answer] == [b"SECOND"]


async def test_a_bulk_download_beside_one_that_is_not_read(raw: RawServer) -> None:
    async with multiplex_client(stream_window=100_000, connection_window=200_000) as client:
        opened = []
        peer = None
        for _ in range(2):
            request = client.build_request("GET", raw.url)
            sending = asyncio.create_task(client.send(request, stream=True))
            peer = peer or await raw.peer()
            stream_id, _ = await peer.request()
            await peer.send(peer.head(stream_id))
            opened.append((stream_id, await sending))
        assert peer
        (idle, _), (bulk, response) = opened
        await peer.send(*[data(idle, bytes(10_000))] * 10)
        reading = asyncio.create_task(response.aread())
        allowed, total = {0: 200_000 - 100_000, bulk: 100_000}, 1_000_000
        for _ in range(total // 10_000):
            while min(allowed.values()) < 10_000:
                update = await peer.next(WindowUpdateFrame)
                if update.stream_id in allowed:
                    allowed[update.stream_id] += update.window_increment
            await peer.send(data(bulk, bytes(10_000)))
            allowed = {key: left - 10_000 for key, left in allowed.items()}
        await peer.send(data(bulk, end=True))
        assert len(await reading) == total
