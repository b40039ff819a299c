"""Frames that no honest client sends: what they cost, and whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.errors import ErrorCodes
from http2.h2_support import (
    PREFACE,
    Site,
    answer,
    data,
    peer,
    read_all,
    serving,
    size,
    wait,
)
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from batchq.http2 import Http2Settings

SMALL = Http2Settings(control_burst=50, control_rate=1)


def _raw(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


def _continued(stream_id: int, payload: bytes) -> Frame:
    return ContinuationFrame(stream_id, payload)


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


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0),
        PriorityFrame(1),
        _raw(0xEE, 0, 0, b"what"),
    ],
    ids=["ping", "settings", "priority", "unknown"],
)
async def test_a_flood_of_control_frames_is_stopped(frame: Any, guarded: bool) -> None:
    settings = SMALL if guarded else Http2Settings(control_burst=2**30)
    async with (
        serving(Site(), settings=settings) as server,
        peer(server.port) as attacker,
        peer(server.port) as other,
    ):
        attacker.send(*[frame] * 500)
        if guarded:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            assert await attacker.alive(1)
        assert await other.alive(1)


async def test_a_flood_of_empty_data_is_stopped() -> None:
    async with (
        serving(Site({"/": size}), settings=SMALL) as server,
        peer(server.port) as attacker,
    ):
        attacker.send(attacker.request(1, method="POST", end=False), *[data(1)] * 500)
        assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_flood_of_continuations_is_stopped() -> None:
    async with serving(Site()) as server, peer(server.port) as attacker:
        attacker.send(HeadersFrame(1, b""), *[_continued(1, b"") for _ in range(200)])
        assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_field_block_in_many_pieces_is_read() -> None:
    async with serving(Site()) as server, peer(server.port) as client:
        whole = client.request(1)
        pieces = [whole.data[at : at + 3] for at in range(0, len(whole.data), 3)]
        client.send(HeadersFrame(1, pieces[0], flags=["END_STREAM"]))
        client.send(*(ContinuationFrame(1, piece) for piece in pieces[1:-1]))
        client.send(ContinuationFrame(1, pieces[-1], flags=["END_HEADERS"]))
        assert await client.status(1) == 200


async def test_a_header_bomb_ends_its_connection() -> None:
    async with serving(Site()) as server, peer(server.port) as attacker:
        block = attacker.encoder.encode([("x", "v" * 3000)]) + b"\xbe" * 100
        attacker.send(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
        assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_client_that_floods_and_does_not_read_is_dropped() -> None:
    settings = Http2Settings(control_burst=2**30, write_backlog=65_536)
    async with serving(Site(), settings=settings) as server, peer(server.port) as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(PREFACE + SettingsFrame(0).serialize())
        pings = PingFrame(0, b"12345678").serialize() * 10_000
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012
            async with asyncio.timeout(20):
                while True:
                    writer.write(pings)
                    await writer.drain()
        writer.transport.abort()
        reader.feed_eof()
        assert await other.alive(1)


async def test_handlers_of_cancelled_requests_count_against_the_limit() -> None:
    site = Site()

    async def stubborn(_scope: Any, _receive: Any, _send: Any) -> None:
        await site.event("go").wait()

    site.handlers["/stubborn"] = stubborn
    settings = Http2Settings(max_concurrent_streams=2)
    async with serving(site, settings=settings) as server, peer(server.port) as client:
        for stream_id in (1, 3, 5, 7):
            client.send(client.request(stream_id, "/stubborn"))
            client.send(RstStreamFrame(stream_id, ErrorCodes.CANCEL))
        client.send(client.request(9))
        assert await client.reset(9) == ErrorCodes.REFUSED_STREAM
        site.event("go").set()


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


async def test_trailers_end_a_body() -> None:
    async with serving(Site({"/": size})) as server, peer(server.port) as client:
        client.send(client.request(1, method="POST", end=False), data(1, b"abc"))
        block = client.encoder.encode([("x-checksum", "1")])
        client.send(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
        assert await client.status(1) == 200
        assert await client.body(1) == b"3"


async def test_padding_is_left_out_and_its_window_given_back() -> None:
    settings = Http2Settings(connection_window=65_536, stream_window=65_536)
    async with serving(Site({"/": size}), settings=settings) as server, peer(server.port) as client:
        client.send(client.request(1, method="POST", end=False))
        for _ in range(100):
            client.send(DataFrame(1, b"abc", pad_length=200, flags=["PADDED"]))
        client.send(DataFrame(1, b"", pad_length=3, flags=["PADDED", "END_STREAM"]))
        assert await client.status(1) == 200
        assert await client.body(1) == b"300"
        given = sum(
            frame.window_increment
            for frame in client.seen
            if isinstance(frame, WindowUpdateFrame) and not frame.stream_id
        )
        # The first one opens the window from 65,535; steps are a quarter of it.
        assert given - 1 >= 100 * 204 - 65_536 // 4


async def test_a_slow_reader_does_not_slow_the_stream_beside_it() -> None:
    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"x" * 2**20)

    async with (
        serving(Site({"/large": large})) as server,
        peer(server.port, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as client,
    ):
        client.send(client.request(1, "/large"), client.request(3))
        client.send(WindowUpdateFrame(3, 100))
        assert await client.body(3) == b"hello"
        client.send(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 2**21}))
        client.send(WindowUpdateFrame(0, 2**21))
        assert await client.body(1) == b"x" * 2**20


@pytest.mark.parametrize("guarded", [True, False])
async def test_an_answer_that_nobody_takes_is_cancelled(guarded: bool) -> None:
    site = Site()

    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"x" * 2**20)
        site.event("released").set()

    site.handlers["/large"] = large
    settings = Http2Settings(stall_timeout=0.2 if guarded else 60)
    async with (
        serving(site, settings=settings) as server,
        peer(server.port, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as client,
    ):
        client.send(client.request(1, "/large"))
        if guarded:
            assert await client.reset(1) == ErrorCodes.CANCEL
            await asyncio.wait_for(site.event("released").wait(), 10)
        else:
            with pytest.raises(TimeoutError):
                await client.until(RstStreamFrame, 1, 0.7)


async def test_a_client_that_leaves_lets_its_streams_finish() -> None:
    site = Site()

    async def later(_scope: Any, _receive: Any, send: Any) -> None:
        await site.event("go").wait()
        await answer(send, b"late")

    site.handlers["/later"] = later
    async with serving(site) as server, peer(server.port) as client:
        client.send(client.request(1, "/later"), GoAwayFrame(0))
        client.send(PingFrame(0, b"12345678"))
        await client.until(PingFrame)
        site.event("go").set()
        assert await client.body(1) == b"late"
        assert [type(frame) for frame in await client.rest()] == [GoAwayFrame]


async def test_a_handler_that_fails_resets_or_answers_500() -> None:
    async def early(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("before the answer")

    async def late(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ValueError("within the answer")

    async with (
        serving(Site({"/early": early, "/late": late})) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/early"))
        assert await client.status(1) == 500
        client.send(client.request(3, "/late"))
        assert await client.reset(3) == ErrorCodes.INTERNAL_ERROR
        assert await client.alive(5)


async def test_every_cut_of_the_bytes_is_read_alike() -> None:
    async with serving(Site({"/": size})) as server, peer(server.port) as client:
        body = DataFrame(1, b"abc", pad_length=3, flags=["PADDED", "END_STREAM"])
        for frame in (client.request(1, method="POST", end=False), PingFrame(0), body):
            for byte in frame.serialize():
                client.send(bytes((byte,)))
                await client.writer.drain()
                await asyncio.sleep(0)
        assert await client.status(1) == 200
        assert await client.body(1) == b"3"
