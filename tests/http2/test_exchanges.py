"""Requests and answers in all the forms that the protocol allows."""

from __future__ import annotations

import asyncio
from typing import Any

from h2.errors import ErrorCodes
from http2.h2_support import (
    Site,
    answer,
    data,
    peer,
    serving,
    size,
)
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from batchq.http2 import Http2Settings


async def test_a_field_block_in_many_pieces_is_read() -> None:
    async with serving(Site()) as server, peer(server.port) as client:
        whole = client.request(1)
        pieces = [whole.data[at : at + 3] for at in range(0, len(whole.data), 3)]
        client.send(HeadersFrame(1, pieces[0], flags=["END_STREAM"]))
        client.send(*(ContinuationFrame(1, piece) for piece in pieces[1:-1]))
        client.send(ContinuationFrame(1, pieces[-1], flags=["END_HEADERS"]))
        assert await client.status(1) == 200


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
