"""What one stream does to those beside it, each beside the stack without the cure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.errors import ErrorCodes
from http2.h2_support import (
    Peer,
    Site,
    answer,
    both,
    comes,
    data,
    on_and_off,
    peer,
    read_all,
    serving,
    settled,
    wait,
)
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from batchq.http2 import Http2Settings
from batchq.http2.sender import SendBuffer

MIB = 2**20


async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
    await answer(send, b"no", 413)


async def large(_scope: Any, _receive: Any, send: Any) -> None:
    await answer(send, b"x" * MIB)


@both
async def test_a_connection_is_not_ended_after_some_number_of_requests(cured: bool) -> None:
    held = asyncio.Event()

    async def hold(_scope: Any, _receive: Any, send: Any) -> None:
        await held.wait()
        await answer(send, b"held")

    # The cap of the stock stack made small; with the cures, no cap is in force.
    cap: dict[str, Any] = {} if cured else {"keep_alive_max_requests": 20}
    async with (
        serving(Site({"/hold": hold}), cured=cured, **cap) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/hold"))
        for stream_id in range(3, 2503 if cured else 63, 2):
            client.send(client.request(stream_id))
        held.set()
        ended = [frame for frame in await _frames(client, 1) if isinstance(frame, GoAwayFrame)]
    assert bool(ended) is not cured


async def _frames(client: Peer, stream_id: int) -> list[Any]:
    """Return what comes until a stream is answered, or the connection says its end."""
    got: list[Any] = []
    while True:
        frame = await client.next()
        got.append(frame)
        if frame is None or isinstance(frame, GoAwayFrame):
            return got
        if frame.stream_id == stream_id and "END_STREAM" in frame.flags:
            return got


@both
async def test_data_after_an_early_answer_harms_nobody(cured: bool) -> None:
    async with (
        serving(Site({"/refuse": refuse}), cured=cured) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/refuse", method="POST", end=False))
        assert await client.status(1) == 413
        assert await client.body(1) == b"no"
        for _ in range(4):
            client.send(data(1, b"x" * 16000))
        client.send(data(1, end=True), client.request(3))
        beside = asyncio.create_task(client.status(3))
        answered = await comes(beside, server.port, expected=cured)
        assert (answered and beside.exception() is None) is cured
        beside.cancel()
        await asyncio.wait([beside])


@both
async def test_a_handler_that_does_not_read_holds_nobody_up(cured: bool) -> None:
    site = Site()

    async def idle(_scope: Any, _receive: Any, send: Any) -> None:
        await site.event("go").wait()
        await answer(send)

    site.handlers["/idle"] = idle
    async with serving(site, cured=cured) as server, peer(server.port) as client:
        client.send(client.request(1, "/idle", method="POST", end=False))
        for _ in range(60):
            client.send(data(1, b"x" * 1000))
        client.send(client.request(3))
        quick = asyncio.create_task(client.status(3))
        assert await comes(quick, server.port, expected=cured) is cured
        quick.cancel()
        await asyncio.wait([quick])
        site.event("go").set()


@both
async def test_more_than_a_thousand_streams_wait_at_once(cured: bool) -> None:
    limit: dict[str, Any] = {} if cured else {"h2_max_concurrent_streams": 5000}
    async with (
        serving(Site({"/wait": wait}), cured=cured, **limit) as server,
        peer(server.port) as client,
    ):
        for stream_id in range(1, 2 * 1050, 2):
            client.send(client.request(stream_id, "/wait"))
        if cured:
            assert await client.alive(2 * 1050 + 1)
        else:
            # Its connection ends, with all that waited there.
            client.send(client.request(2 * 1050 + 1))
            with pytest.raises(EOFError):
                await client.status(2 * 1050 + 1)


async def test_five_thousand_streams_wait_at_once() -> None:
    async with serving(Site({"/wait": wait})) as server, peer(server.port) as client:
        for stream_id in range(1, 10_001, 2):
            client.send(client.request(stream_id, "/wait"))
        assert await client.alive(10_001)
        assert server.registry is not None
        assert server.registry.streams == 5000


@both
async def test_a_stream_above_the_limit_is_refused_alone(cured: bool) -> None:
    site = Site()

    async def hold(_scope: Any, _receive: Any, send: Any) -> None:
        await site.event("go").wait()
        await answer(send, b"held")

    site.handlers["/hold"] = hold
    limit: dict[str, Any] = (
        {"settings": Http2Settings(max_concurrent_streams=2)}
        if cured
        else {"h2_max_concurrent_streams": 2}
    )
    async with serving(site, cured=cured, **limit) as server, peer(server.port) as client:
        client.send(*(client.request(stream_id, "/hold") for stream_id in (1, 3, 5)))
        if cured:
            assert await client.reset(5) == ErrorCodes.REFUSED_STREAM
            site.event("go").set()
            assert await client.body(1) == b"held"
            assert await client.body(3) == b"held"
            assert await client.alive(7)
        else:
            await client.goaway()
            site.event("go").set()


@both
async def test_streams_take_turns_whatever_priorities_the_client_gave(cured: bool) -> None:
    """RFC 9113, 5.3.2, takes the scheme out; by it one answer can starve another."""
    windows = {SettingsFrame.INITIAL_WINDOW_SIZE: 2 * MIB}
    async with (
        serving(Site({"/large": large}), cured=cured) as server,
        peer(server.port, windows) as client,
    ):
        first, after = client.request(1, "/large"), client.request(3, "/large")
        after.flags.add("PRIORITY")
        after.depends_on, after.exclusive, after.stream_weight = 1, True, 255
        client.send(first, after)
        await settled(server.port)
        client.seen.clear()
        client.send(WindowUpdateFrame(0, 4 * MIB))
        sent = {1: 0, 3: 0}
        while sent[1] < MIB:
            frame = await client.until(DataFrame)
            sent[frame.stream_id] += len(frame.data)
        # When the first is done, the second is too, but for a few turns; or not begun.
        assert (sent[3] > MIB // 2) is cured


@both
async def test_a_blocked_answer_is_released_when_the_client_leaves(cured: bool) -> None:
    site = Site()

    async def noticed(scope: Any, receive: Any, send: Any) -> None:
        try:
            await large(scope, receive, send)
        finally:
            site.event("released").set()

    site.handlers["/large"] = noticed
    async with serving(site, cured=cured) as server:
        async with peer(server.port) as client:
            client.send(client.request(1, "/large"))
            # The window of 64 KiB is used up then.
            got = 0
            while got < 65_535:
                got += len((await client.until(DataFrame, 1)).data)
            assert not site.event("released").is_set()
        released = asyncio.create_task(site.event("released").wait())
        assert await comes(released, server.port, expected=cured) is cured
        released.cancel()
        await asyncio.wait([released])


@on_and_off
async def test_a_reset_releases_a_blocked_answer_and_tells_the_handler(
    cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear, left = SendBuffer.clear, list[SendBuffer]()

    def forgotten(buffer: SendBuffer) -> None:
        left.append(buffer)

    if not cured:
        monkeypatch.setattr(SendBuffer, "clear", forgotten)
    site = Site()
    told = []

    async def noticed(scope: Any, receive: Any, send: Any) -> None:
        await read_all(receive)
        await large(scope, receive, send)
        told.append((await receive())["type"])

    site.handlers["/large"] = noticed
    async with serving(site) as server, peer(server.port) as client:
        client.send(client.request(1, "/large"))
        await client.until(DataFrame, 1)
        client.send(RstStreamFrame(1, ErrorCodes.CANCEL))
        await client.handled()
        await settled(server.port)
        assert told == (["http.disconnect"] if cured else [])
        if cured:
            # What the client was sent fills the connection's window: open it again.
            client.send(WindowUpdateFrame(0, MIB))
            assert await client.alive(3)
        for buffer in left:
            clear(buffer)


@both
async def test_the_header_list_limit_is_enforced(cured: bool) -> None:
    limit: dict[str, Any] = {} if cured else {"h2_max_header_list_size": 16 * 1024}
    async with serving(Site(), cured=cured, **limit) as server, peer(server.port) as client:
        fields = tuple((f"x-{number}", "v" * 90) for number in range(150))
        client.send(client.request(1, fields=fields))
        assert await client.status(1) == (431 if cured else 200)
        assert await client.alive(3)


@on_and_off
async def test_a_flood_of_resets_ends_its_connection_only(cured: bool) -> None:
    burst = 100 if cured else 1_000_000
    settings = Http2Settings(reset_burst=burst, reset_rate=1)
    async with (
        serving(Site({"/wait": wait}), settings=settings) as server,
        peer(server.port) as attacker,
        peer(server.port) as other,
    ):
        for stream_id in range(1, 2001, 2):
            attacker.send(attacker.request(stream_id, "/wait"))
            attacker.send(RstStreamFrame(stream_id, ErrorCodes.CANCEL))
        if cured:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            assert await attacker.alive(2001)
        assert await other.alive(1)
