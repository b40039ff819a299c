"""Bodies of answers: all that came and nothing else, whatever the frames they come in."""

import asyncio
from typing import Any

import httpx
import pytest
from hyperframe.frame import DataFrame, RstStreamFrame, WindowUpdateFrame
from transport.http_clients import multiplex_client
from transport.raw_server import RawPeer, RawServer, data

from batchq_client.transport import AT_ONCE_EXTENSION, safe_to_resend

PROTOCOL_ERROR = 1
WAYS = pytest.mark.parametrize("at_once", [False, True])


def start(
    client: httpx.AsyncClient, url: str, *, at_once: bool, method: str = "GET", content: bytes = b""
) -> "asyncio.Task[httpx.Response]":
    extensions = {AT_ONCE_EXTENSION: at_once}
    request = client.request(method, url, content=content, extensions=extensions)
    return asyncio.create_task(request)


def padded(stream_id: int, payload: bytes, padding: int, *, end: bool = False) -> DataFrame:
    flags = ["PADDED", "END_STREAM"] if end else ["PADDED"]
    return DataFrame(stream_id, data=payload, flags=flags, pad_length=padding)


def updates(peer: RawPeer, stream_id: int) -> list[int]:
    seen = peer.seen(WindowUpdateFrame)
    return [frame.window_increment for frame in seen if frame.stream_id == stream_id]


@WAYS
async def test_an_answer_that_ends_before_its_body_is_an_error(
    raw: RawServer, client: httpx.AsyncClient, at_once: bool
) -> None:
    task = start(client, raw.url, at_once=at_once)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id, end=True, content_length="100"))
    with pytest.raises(httpx.RemoteProtocolError, match="lacks 100 bytes") as caught:
        await task
    assert not safe_to_resend(caught.value)


@WAYS
async def test_a_body_that_trailers_cut_off_is_an_error(
    raw: RawServer, client: httpx.AsyncClient, at_once: bool
) -> None:
    task = start(client, raw.url, at_once=at_once)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    head = peer.head(stream_id, content_length="100")
    await peer.send(head, data(stream_id, b"some"), peer.trailers(stream_id, digest="abc"))
    with pytest.raises(httpx.RemoteProtocolError, match="lacks 96 bytes"):
        await task


async def test_a_short_answer_resets_the_upload_it_came_before_and_nothing_else(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url, at_once=True, method="POST", content=bytes(1_000_000))
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id, end=True, content_length="100"))
    sent = await peer.next(RstStreamFrame)
    assert (sent.stream_id, sent.error_code) == (stream_id, PROTOCOL_ERROR)
    with pytest.raises(httpx.RemoteProtocolError):
        await task
    other = start(client, raw.url, at_once=True)
    stream_id, _ = await peer.request()
    await peer.answer(stream_id)
    assert (await other).content == b"ok"


@WAYS
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
async def test_an_answer_without_content_may_tell_a_length(
    raw: RawServer, client: httpx.AsyncClient, at_once: bool, method: str, status: int
) -> None:
    task = start(client, raw.url, at_once=at_once, method=method)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id, status, end=True, content_length="100"))
    response = await task
    assert (response.status_code, response.content) == (status, b"")
    assert response.headers["content-length"] == "100"


@WAYS
async def test_padded_bodies_are_larger_than_the_windows(raw: RawServer, at_once: bool) -> None:
    async with multiplex_client(stream_window=70_000, connection_window=70_000) as client:
        task = start(client, raw.url, at_once=at_once)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        await peer.send(peer.head(stream_id, content_length="600000"))
        left = {0: 70_000, stream_id: 70_000}
        for number in range(60):
            while min(left.values()) < 10_051:
                update = await peer.next(WindowUpdateFrame)
                left[update.stream_id] += update.window_increment
            await peer.send(padded(stream_id, bytes([number]) * 10_000, 50, end=number == 59))
            left = {key: allowed - 10_051 for key, allowed in left.items()}
        assert (await task).content == b"".join(bytes([n]) * 10_000 for n in range(60))


@WAYS
@pytest.mark.parametrize("body", [b"short", b"much longer than it was said to be"])
async def test_a_padded_body_of_another_length_fails_its_stream_alone(
    raw: RawServer, client: httpx.AsyncClient, at_once: bool, body: bytes
) -> None:
    task, other = (start(client, raw.url, at_once=at_once) for _ in range(2))
    peer = await raw.peer()
    first, _ = await peer.request()
    second, _ = await peer.request()
    await peer.send(peer.head(first, content_length="10"), padded(first, body, 3, end=True))
    await peer.answer(second)
    with pytest.raises(httpx.RemoteProtocolError):
        await task
    assert (await other).content == b"ok"


async def test_padding_that_is_longer_than_its_frame_ends_the_connection(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url, at_once=False)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id))
    await peer.send_bytes(b"\0\0\2\0\x08" + stream_id.to_bytes(4, "big") + b"\x05x")
    with pytest.raises(httpx.RemoteProtocolError):
        await task


async def test_padded_data_of_a_stream_that_was_left_is_given_back(raw: RawServer) -> None:
    async with multiplex_client(connection_window=70_000) as client:
        task = start(client, raw.url, at_once=False)
        peer = await raw.peer()
        left, _ = await peer.request()
        task.cancel()
        await peer.next(RstStreamFrame)
        before = sum(updates(peer, 0))
        await peer.send(peer.head(left), *[padded(left, bytes(5000), 255)] * 8)
        await peer.ping()
        assert sum(updates(peer, 0)) - before >= 70_000 // 2


@WAYS
async def test_no_window_is_given_to_a_stream_that_has_ended(raw: RawServer, at_once: bool) -> None:
    async with multiplex_client(stream_window=1000) as client:
        uploading: Any = start(
            client, raw.url, at_once=at_once, method="POST", content=bytes(1_000_000)
        )
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        head = peer.head(stream_id, content_length="1000")
        await peer.send(head, data(stream_id, bytes(1000), end=True))
        assert len((await uploading).content) == 1000
        await peer.ping()
        assert updates(peer, stream_id) == []
