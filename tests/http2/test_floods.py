"""Frames by the thousands, and clients that take nothing; each without the guard too."""

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
    on_and_off,
    peer,
    serving,
    size,
    wait,
)
from hyperframe.frame import (
    ContinuationFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from batchq.http2 import Http2Settings, reader

SMALL = Http2Settings(control_burst=50, control_rate=1)
UNGUARDED = Http2Settings(control_burst=2**30)


def _raw(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


@on_and_off
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
async def test_a_flood_of_control_frames_is_stopped(frame: Any, cured: bool) -> None:
    settings = SMALL if cured else UNGUARDED
    async with (
        serving(Site(), settings=settings) as server,
        peer(server.port) as attacker,
        peer(server.port) as other,
    ):
        attacker.send(*[frame] * 500)
        if cured:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            assert await attacker.alive(1)
        assert await other.alive(1)


@on_and_off
async def test_a_flood_of_empty_data_is_stopped(cured: bool) -> None:
    async with (
        serving(Site({"/": size}), settings=SMALL if cured else UNGUARDED) as server,
        peer(server.port) as attacker,
    ):
        attacker.send(attacker.request(1, method="POST", end=False), *[data(1)] * 500)
        if cured:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            attacker.send(data(1, end=True))
            assert await attacker.status(1) == 200


@on_and_off
async def test_a_flood_of_continuations_is_stopped(
    cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cured:
        monkeypatch.setattr(reader, "_MOST_CONTINUATIONS", 1000)
    async with serving(Site()) as server, peer(server.port) as attacker:
        block = attacker.request(1).data
        attacker.send(HeadersFrame(1, b"", flags=["END_STREAM"]))
        attacker.send(*[ContinuationFrame(1, b"")] * 200)
        attacker.send(ContinuationFrame(1, block, flags=["END_HEADERS"]))
        if cured:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            assert await attacker.status(1) == 200


@on_and_off
async def test_a_header_bomb_ends_its_connection(cured: bool) -> None:
    """A hundred bytes name a field of 3 KB a hundred times."""
    settings = Http2Settings(max_header_list_size=16_384 if cured else 2**20, read_size=2**22)
    async with serving(Site(), settings=settings) as server, peer(server.port) as attacker:
        block = attacker.request(1).data + attacker.encoder.encode([("x", "v" * 3000)])
        attacker.send(HeadersFrame(1, block + b"\xbe" * 100, flags=["END_HEADERS", "END_STREAM"]))
        if cured:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            assert await attacker.status(1) == 200


async def test_a_client_that_floods_and_does_not_read_is_dropped() -> None:
    settings = Http2Settings(control_burst=2**30, write_backlog=65_536)
    async with serving(Site(), settings=settings) as server, peer(server.port) as other:
        stream, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(PREFACE + SettingsFrame(0).serialize())
        pings = PingFrame(0, b"12345678").serialize() * 10_000
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012
            async with asyncio.timeout(20):
                while True:
                    writer.write(pings)
                    await writer.drain()
        writer.transport.abort()
        stream.feed_eof()
        assert await other.alive(1)


@on_and_off
async def test_handlers_of_cancelled_requests_count_against_the_limit(cured: bool) -> None:
    site = Site()

    async def stubborn(_scope: Any, _receive: Any, _send: Any) -> None:
        await site.event("go").wait()

    site.handlers["/stubborn"] = stubborn
    settings = Http2Settings(max_concurrent_streams=2 if cured else 100)
    async with serving(site, settings=settings) as server, peer(server.port) as client:
        for stream_id in (1, 3, 5, 7):
            client.send(client.request(stream_id, "/stubborn"))
            client.send(RstStreamFrame(stream_id, ErrorCodes.CANCEL))
        if cured:
            client.send(client.request(9))
            assert await client.reset(9) == ErrorCodes.REFUSED_STREAM
        else:
            assert await client.alive(9)
        site.event("go").set()


async def test_refusals_are_no_resets() -> None:
    """A client that asks for too much is told so, as often as it takes, and loses nothing."""
    settings = Http2Settings(max_concurrent_streams=2, reset_burst=5, reset_rate=0)
    async with (
        serving(Site({"/wait": wait}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/wait"))
        for stream_id in range(3, 203, 2):
            client.send(client.request(stream_id, "/wait"))
        for stream_id in range(5, 203, 2):
            assert await client.reset(stream_id) == ErrorCodes.REFUSED_STREAM
        client.send(RstStreamFrame(1, ErrorCodes.CANCEL))
        assert await client.alive(203)


@on_and_off
async def test_a_flood_of_refused_requests_is_stopped(cured: bool) -> None:
    burst = 50 if cured else 1_000_000
    settings = Http2Settings(max_concurrent_streams=1, refusal_burst=burst, refusal_rate=0)
    async with (
        serving(Site({"/wait": wait}), settings=settings) as server,
        peer(server.port) as attacker,
        peer(server.port) as other,
    ):
        for stream_id in range(1, 201, 2):
            attacker.send(attacker.request(stream_id, "/wait"))
        if cured:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            assert await attacker.reset(199) == ErrorCodes.REFUSED_STREAM
        assert await other.alive(1)


@on_and_off
async def test_an_answer_that_nobody_takes_is_cancelled(cured: bool) -> None:
    site = Site()

    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"x" * 2**20)
        site.event("released").set()

    site.handlers["/large"] = large
    seconds = 0.2
    settings = Http2Settings(stall_timeout=seconds if cured else 60, idle_timeout=2 * seconds)
    async with (
        serving(site, settings=settings) as server,
        peer(server.port, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as client,
        peer(server.port) as idle,
    ):
        client.send(client.request(1, "/large"))
        if cured:
            assert await client.reset(1) == ErrorCodes.CANCEL
            await asyncio.wait_for(site.event("released").wait(), 10)
        else:
            # Twice the time of the other is over when this one ends.
            await idle.rest()
            client.send(WindowUpdateFrame(0, 2**21), WindowUpdateFrame(1, 2**21))
            assert await client.body(1) == b"x" * 2**20
