"""Frames that no honest client sends, one at a time: what they cost, and whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.errors import ErrorCodes
from http2.h2_support import (
    PREFACE,
    Site,
    data,
    peer,
    read_all,
    serving,
    wait,
)
from hyperframe.frame import (
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from batchq.http2 import Http2Settings


def _raw(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([_raw(0x0, 0, 0, b"x")], ErrorCodes.PROTOCOL_ERROR),
        ([data(1, b"x")], ErrorCodes.PROTOCOL_ERROR),
        ([RstStreamFrame(1)], ErrorCodes.PROTOCOL_ERROR),
        ([WindowUpdateFrame(1, 1)], ErrorCodes.PROTOCOL_ERROR),
        ([_raw(0x8, 0, 0, bytes(4))], ErrorCodes.PROTOCOL_ERROR),
        ([WindowUpdateFrame(0, 2**31 - 1)], ErrorCodes.FLOW_CONTROL_ERROR),
        ([_raw(0x8, 0, 0, b"abc")], ErrorCodes.FRAME_SIZE_ERROR),
        ([_raw(0x4, 0, 0, b"abc")], ErrorCodes.FRAME_SIZE_ERROR),
        ([_raw(0x4, 1, 0, bytes(6))], ErrorCodes.FRAME_SIZE_ERROR),
        ([_raw(0x4, 0, 1, b"")], ErrorCodes.PROTOCOL_ERROR),
        ([SettingsFrame(0, settings={4: 2**31})], ErrorCodes.FLOW_CONTROL_ERROR),
        ([SettingsFrame(0, settings={5: 100})], ErrorCodes.PROTOCOL_ERROR),
        ([SettingsFrame(0, settings={2: 2})], ErrorCodes.PROTOCOL_ERROR),
        ([_raw(0x6, 0, 0, b"short")], ErrorCodes.FRAME_SIZE_ERROR),
        ([_raw(0x7, 0, 0, b"short")], ErrorCodes.FRAME_SIZE_ERROR),
        ([_raw(0x2, 0, 1, b"abc")], ErrorCodes.FRAME_SIZE_ERROR),
        ([PushPromiseFrame(1, 2)], ErrorCodes.PROTOCOL_ERROR),
        ([_raw(0x9, 4, 1, b"")], ErrorCodes.PROTOCOL_ERROR),
        ([HeadersFrame(2, b"", flags=["END_HEADERS"])], ErrorCodes.PROTOCOL_ERROR),
        ([_raw(0x1, 4, 1, b"\xff\xff\xff\xff\xff\xff")], ErrorCodes.COMPRESSION_ERROR),
        ([_raw(0x1, 4 | 8, 1, b"\xff")], ErrorCodes.PROTOCOL_ERROR),
        ([_raw(0x1, 4 | 8, 1, b"")], ErrorCodes.FRAME_SIZE_ERROR),
        ([HeadersFrame(1, b"\x82"), PingFrame(0, b"12345678")], ErrorCodes.PROTOCOL_ERROR),
        ([HeadersFrame(1, b"\x82"), data(1, b"x")], ErrorCodes.PROTOCOL_ERROR),
        ([HeadersFrame(1, b"\x82"), _raw(0xEE, 0, 0, b"")], ErrorCodes.PROTOCOL_ERROR),
        ([(2**20 + 1).to_bytes(3) + bytes(6)], ErrorCodes.FRAME_SIZE_ERROR),
        ([_raw(0x1, 4, 1, bytes(40_000))], ErrorCodes.ENHANCE_YOUR_CALM),
    ],
)
async def test_a_broken_frame_ends_its_connection_and_no_other(
    frames: list[Any], code: ErrorCodes
) -> None:
    async with (
        serving(Site()) as server,
        peer(server.port) as attacker,
        peer(server.port) as other,
    ):
        attacker.send(*frames)
        assert await attacker.goaway() == code
        assert await attacker.rest() == []
        assert await other.alive(1)


@pytest.mark.parametrize("opening", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", PREFACE + b"\0" * 9])
async def test_a_bad_preface_is_refused(opening: bytes) -> None:
    async with serving(Site()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(opening)
        async with asyncio.timeout(10):
            got = await reader.read()
        assert _raw(0x7, 0, 0, bytes(4) + ErrorCodes.PROTOCOL_ERROR.to_bytes(4))[9:] in got
        writer.close()
        await writer.wait_closed()


async def test_data_beyond_the_stream_window_resets_the_stream_only() -> None:
    settings = Http2Settings(stream_window=65_535)
    async with (
        serving(Site({"/wait": _hold}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/wait", method="POST", end=False))
        client.send(data(1, b"x" * 40_000), data(1, b"x" * 40_000))
        assert await client.reset(1) == ErrorCodes.FLOW_CONTROL_ERROR
        assert await client.alive(3)


async def _hold(_scope: Any, _receive: Any, _send: Any) -> None:
    await asyncio.sleep(1)


async def test_data_beyond_the_connection_window_ends_the_connection() -> None:
    settings = Http2Settings(stream_window=2**20, connection_window=65_535)
    async with (
        serving(Site({"/wait": _hold}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/wait", method="POST", end=False))
        client.send(data(1, b"x" * 70_000))
        assert await client.goaway() == ErrorCodes.FLOW_CONTROL_ERROR


async def test_data_on_a_stream_that_is_over_resets_it_and_gives_its_window_back() -> None:
    settings = Http2Settings(connection_window=65_536, stream_window=65_536)
    async with serving(Site(), settings=settings) as server, peer(server.port) as client:
        assert await client.alive(1)
        client.send(data(1, b"x" * 20_000))
        assert await client.reset(1) == ErrorCodes.STREAM_CLOSED
        assert (await client.until(WindowUpdateFrame, 0)).window_increment == 20_000
        assert await client.alive(3)


async def test_data_on_a_stream_that_was_reset_here_is_ignored() -> None:
    settings = Http2Settings(max_concurrent_streams=1)
    async with (
        serving(Site({"/wait": wait}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/wait"))
        client.send(client.request(3, method="POST", end=False), data(3, b"x", end=True))
        client.send(data(3, b"x"))
        assert await client.reset(3) == ErrorCodes.REFUSED_STREAM
        client.send(PingFrame(0, b"12345678"))
        await client.until(PingFrame)
        assert [type(frame) for frame in client.seen].count(RstStreamFrame) == 1


async def test_headers_on_a_closed_stream_end_the_connection() -> None:
    async with serving(Site()) as server, peer(server.port) as client:
        assert await client.alive(3)
        client.send(client.request(1))
        assert await client.goaway() == ErrorCodes.STREAM_CLOSED


@pytest.mark.parametrize(
    ("announced", "sent"), [("5", b"abc"), ("2", b"abc"), ("x", b"abc"), ("-1", b"")]
)
async def test_a_body_of_another_length_than_announced_is_reset(
    announced: str, sent: bytes
) -> None:
    site = Site()
    told: list[bytes | None] = []

    async def note(_scope: Any, receive: Any, _send: Any) -> None:
        told.append(await read_all(receive))
        site.event("done").set()

    site.handlers["/"] = note
    async with serving(site) as server, peer(server.port) as client:
        fields = (("content-length", announced),)
        client.send(client.request(1, method="POST", fields=fields, end=False))
        client.send(data(1, sent[:1]), data(1, sent[1:], end=True))
        assert await client.reset(1) == ErrorCodes.PROTOCOL_ERROR
        if announced.isdigit():
            await asyncio.wait_for(site.event("done").wait(), 10)
            assert told in ([None], [b"abc"])


@pytest.mark.parametrize(
    "fields",
    [
        [(":path", "/"), (":scheme", "http")],
        [(":method", "GET"), (":path", ""), (":scheme", "http")],
        [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":path", "/")],
        [(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/")],
        [(":method", "GET"), (":path", "/"), (":scheme", "http"), ("Upper", "x")],
        [(":method", "GET"), (":path", "/"), (":scheme", "http"), ("connection", "close")],
        [(":method", "GET"), (":path", "/"), (":scheme", "http"), ("te", "gzip")],
        [(":method", "GET"), (":path", "/"), (":scheme", "http"), ("x", "a\r\nb: c")],
        [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":status", "200")],
        [(":method", "GET"), (":path", "/a b\xe9"), (":scheme", "http")],
    ],
)
async def test_a_malformed_request_resets_its_stream_only(fields: list[tuple[str, str]]) -> None:
    async with serving(Site()) as server, peer(server.port) as client:
        block = client.encoder.encode(fields)
        client.send(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
        assert await client.reset(1) == ErrorCodes.PROTOCOL_ERROR
        assert await client.alive(3)
