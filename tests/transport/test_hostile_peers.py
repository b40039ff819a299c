"""Peers that hang up, lie, fall silent or break the protocol."""

import asyncio
from typing import Any

import httpx
import pytest
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)
from transport.http_clients import multiplex_client
from transport.raw_server import RawServer, data, reset

from batchq_client.transport import (
    HTTP2NotSupported,
    safe_to_resend,
)

REFUSED_STREAM, CANCEL, NO_ERROR, PROTOCOL_ERROR, FRAME_SIZE_ERROR = 7, 8, 0, 1, 6


def start(client: httpx.AsyncClient, url: str, **options: Any) -> "asyncio.Task[httpx.Response]":
    method = "POST" if "content" in options else "GET"
    return asyncio.create_task(client.request(method, url, **options))


@pytest.mark.parametrize("with_head", [False, True])
async def test_a_connection_cut_in_the_middle_is_an_unknown_outcome(
    raw: RawServer, client: httpx.AsyncClient, with_head: bool
) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    if with_head:
        await peer.send(peer.head(stream_id, content_length="10"), data(stream_id, b"half"))
        await peer.ping()
    peer.writer.transport.abort()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)) as caught:
        await task
    assert not safe_to_resend(caught.value)


async def test_a_peer_that_closes_its_half_is_gone(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    await peer.request()
    peer.writer.write_eof()
    with pytest.raises(httpx.RemoteProtocolError):
        await task


async def test_a_peer_that_never_answers_is_a_read_timeout(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url, timeout=httpx.Timeout(10, read=0.05))
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    with pytest.raises(httpx.ReadTimeout) as caught:
        await task
    assert not safe_to_resend(caught.value)
    assert (await peer.next(RstStreamFrame)).stream_id == stream_id


async def test_a_peer_that_says_nothing_at_all_is_a_connect_timeout(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ConnectTimeout) as caught:
        await client.get(raw.url, timeout=httpx.Timeout(10, connect=0.05))
    assert safe_to_resend(caught.value)
    await raw.accept()


async def test_a_peer_that_hangs_up_at_once_is_a_connect_error(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url)
    (await raw.accept()).close()
    with pytest.raises(httpx.ConnectError):
        await task


async def test_a_peer_that_speaks_http1_is_named(raw: RawServer, client: httpx.AsyncClient) -> None:
    task = start(client, raw.url)
    peer = await raw.accept()
    await peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(HTTP2NotSupported, match=r"HTTP/1\.1"):
        await task


async def test_informational_answers_are_not_the_answer(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id, 103, link="</a>"), peer.head(stream_id, 100))
    await peer.answer(stream_id, status=201)
    response = await task
    assert response.status_code == 201
    assert "link" not in response.headers


async def test_trailers_are_in_the_extensions(raw: RawServer, client: httpx.AsyncClient) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(
        peer.head(stream_id), data(stream_id, b"body"), peer.trailers(stream_id, digest="abc")
    )
    response = await task
    assert response.content == b"body"
    assert response.extensions["trailers"] == [(b"digest", b"abc")]


async def test_padding_is_no_payload_and_given_back(raw: RawServer) -> None:
    async with multiplex_client(stream_window=70_000, connection_window=70_000) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        await peer.send(peer.head(stream_id))
        sent = allowed = 70_000
        sent = 0
        for _ in range(600):  # twice what the windows hold
            frame = DataFrame(stream_id, data=b"x", flags=["PADDED"], pad_length=255)
            while sent + 257 > allowed:
                update = await peer.any_frame()
                assert update is not None
                if update.stream_id == stream_id:
                    allowed += update.window_increment  # type: ignore[attr-defined]
            await peer.send(frame)
            sent += 257
        await peer.send(data(stream_id, end=True))
        assert (await task).content == b"x" * 600


async def test_an_early_answer_stops_the_upload(raw: RawServer, client: httpx.AsyncClient) -> None:
    task = start(client, raw.url, content=bytes(10_000_000))
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.answer(stream_id, b"too large", status=413)
    response = await task
    assert (response.status_code, response.content) == (413, b"too large")
    assert (await peer.next(RstStreamFrame)).stream_id == stream_id
    second = start(client, raw.url)
    stream_id, _ = await peer.request()
    await peer.answer(stream_id)
    assert (await second).status_code == 200


async def test_an_early_answer_followed_by_a_reset_is_the_answer(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url, content=bytes(10_000_000))
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(
        peer.head(stream_id, 413), data(stream_id, b"no", end=True), reset(stream_id, NO_ERROR)
    )
    assert (await task).content == b"no"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (data(0x7001, b"x").serialize(), PROTOCOL_ERROR),  # a stream that was never opened
        (data(2, b"x").serialize(), PROTOCOL_ERROR),  # one that only the peer could open
        (b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x", PROTOCOL_ERROR),  # DATA on stream 0
        (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", FRAME_SIZE_ERROR),  # larger than allowed
        (b"\x00\x00\x05\x06\x00\x00\x00\x00\x0012345", None),  # a PING of 5 bytes
        (b"\x00\x00\x00\x09\x00\x00\x00\x00\x01", None),  # CONTINUATION of nothing
        (b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\xff", None),  # HPACK that ends too early
        (b"\x00\x00\x00\x07\x00\x00\x00\x00\x00", None),  # a GOAWAY without a last id
    ],
)
async def test_a_broken_frame_ends_the_connection_with_a_reason(
    raw: RawServer, client: httpx.AsyncClient, frames: bytes, code: int | None
) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    await peer.request()
    await peer.send_bytes(frames)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await task
    assert not safe_to_resend(caught.value)
    sent = await peer.next(GoAwayFrame)
    assert sent.error_code == code if code else sent.error_code
    # The next request starts anew.
    second = start(client, raw.url)
    other = await raw.peer()
    stream_id, _ = await other.request()
    await other.answer(stream_id)
    assert (await second).status_code == 200


async def test_a_push_is_refused(raw: RawServer, client: httpx.AsyncClient) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    assert peer.client_settings[SettingsFrame.ENABLE_PUSH] == 0
    block = peer.encoder.encode([(":method", "GET"), (":path", "/")])
    await peer.send(
        PushPromiseFrame(stream_id, promised_stream_id=2, data=block, flags=["END_HEADERS"])
    )
    with pytest.raises(httpx.RemoteProtocolError):
        await task


@pytest.mark.parametrize("body", [b"short", b"much longer than it was said to be"])
async def test_a_body_of_another_length_fails_its_stream_alone(
    raw: RawServer, client: httpx.AsyncClient, body: bytes
) -> None:
    task, other = start(client, raw.url), start(client, raw.url)
    peer = await raw.peer()
    first, _ = await peer.request()
    second, _ = await peer.request()
    await peer.send(peer.head(first, content_length="10"), data(first, body, end=True))
    await peer.answer(second)
    with pytest.raises(httpx.RemoteProtocolError):
        await task
    assert (await other).content == b"ok"


@pytest.mark.parametrize("status", ["abc", "9", "99999", "1abc", "10000"])
async def test_what_is_no_status_resets_its_stream_alone(
    raw: RawServer, client: httpx.AsyncClient, status: str
) -> None:
    task, other = start(client, raw.url), start(client, raw.url)
    peer = await raw.peer()
    first, _ = await peer.request()
    second, _ = await peer.request()
    block = peer.encoder.encode([(":status", status)])
    await peer.send(HeadersFrame(first, data=block, flags=["END_HEADERS"]))
    with pytest.raises(httpx.RemoteProtocolError, match="status") as caught:
        await task
    assert not safe_to_resend(caught.value)
    sent = await peer.next(RstStreamFrame)
    assert (sent.stream_id, sent.error_code) == (first, PROTOCOL_ERROR)
    await peer.answer(second)
    assert (await other).content == b"ok"


async def test_unknown_frames_and_pings_are_borne(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send_bytes(b"\x00\x00\x03\xee\xff\x00\x00\x00\x01abc")
    await peer.send(PingFrame(0, opaque_data=b"12345678"))
    assert (await peer.next(PingFrame)).opaque_data == b"12345678"
    await peer.answer(stream_id)
    assert (await task).status_code == 200


async def test_late_frames_of_a_reset_stream_are_borne(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    task.cancel()
    await peer.next(RstStreamFrame)
    await peer.send(
        peer.head(stream_id, x_kept="in the table"),
        data(stream_id, b"late"),
        data(stream_id, b"later", end=True),
        reset(stream_id, CANCEL),
    )
    second = start(client, raw.url)
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id, end=True, x_kept="in the table"))
    assert (await second).headers["x-kept"] == "in the table"


async def test_a_head_in_many_pieces(raw: RawServer, client: httpx.AsyncClient) -> None:
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    whole = peer.head(stream_id, x_long="y" * 3000)
    blocks = [whole.data[i : i + 100] for i in range(0, len(whole.data), 100)]
    output = HeadersFrame(stream_id, data=blocks[0]).serialize()
    for number, block in enumerate(blocks[1:], 2):
        flags = b"\x04" if number == len(blocks) else b"\x00"
        header = len(block).to_bytes(3, "big") + b"\x09" + flags + stream_id.to_bytes(4, "big")
        output += header + block
    for byte in output + data(stream_id, b"body", end=True).serialize():
        await peer.send_bytes(bytes([byte]))
    response = await task
    assert response.headers["x-long"] == "y" * 3000
    assert response.content == b"body"
