"""Each cure beside the stack without it: the same scenario, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.config
import h2.connection
import hyperframe.frame
import pytest
from h2.errors import ErrorCodes
from http2.h2_support import Site, answer, data, peer, read_all, serving, size, wait
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from batchq.http2 import Http2Settings

both = pytest.mark.parametrize("cured", [True, False], ids=["cured", "stock"])

# How long a stack without the cure gets to prove that nothing comes.
SILENCE = 0.7


@both
async def test_windows_are_large_from_the_start(cured: bool) -> None:
    async with serving(Site({"/": size}), cured=cured) as server:
        client = h2.connection.H2Connection(h2.config.H2Configuration())
        client.initiate_connection()
        client.send_headers(
            1, [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(client.data_to_send())
        async with asyncio.timeout(10):
            while not any(
                isinstance(event, h2.events.SettingsAcknowledged)
                for event in client.receive_data(await reader.read(65536))
            ):
                writer.write(client.data_to_send())
        window = client.local_flow_control_window(1)
        writer.close()
        await writer.wait_closed()
    assert window == (Http2Settings().stream_window if cured else 65_535)


@both
async def test_a_frame_of_512_kib_is_taken(cured: bool) -> None:
    async with serving(Site({"/": size}), cured=cured) as server, peer(server.port) as client:
        client.send(client.request(1, method="POST", end=False))
        client.send(data(1, b"x" * 2**19, end=True))
        if cured:
            assert await client.status(1) == 200
            assert await client.body(1) == b"%d" % 2**19
        else:
            assert await client.goaway() == ErrorCodes.FRAME_SIZE_ERROR


@both
async def test_no_frame_is_turned_into_text(cured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = []
    original = hyperframe.frame.Frame.__repr__

    def counting(frame: hyperframe.frame.Frame) -> str:
        turned.append(type(frame))
        return original(frame)

    monkeypatch.setattr(hyperframe.frame.Frame, "__repr__", counting)
    async with serving(Site({"/": size}), cured=cured) as server, peer(server.port) as client:
        client.send(client.request(1, method="POST", end=False), data(1, b"x", end=True))
        assert await client.status(1) == 200
    assert (DataFrame in turned) is not cured


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


async def _frames(client: Any, stream_id: int) -> list[Any]:
    """Return what comes until a stream is answered, or the connection says its end."""
    got = []
    while True:
        frame = await client.next()
        got.append(frame)
        if frame is None or isinstance(frame, GoAwayFrame):
            return got
        if frame.stream_id == stream_id and "END_STREAM" in frame.flags:
            return got


@both
async def test_data_after_an_early_answer_harms_nobody(cured: bool) -> None:
    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"no", 413)

    async with (
        serving(Site({"/refuse": refuse, "/wait": wait}), cured=cured) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/refuse", method="POST", end=False))
        assert await client.status(1) == 413
        assert await client.body(1) == b"no"
        for _ in range(4):
            client.send(data(1, b"x" * 16000))
        client.send(data(1, end=True))
        if cured:
            assert await client.alive(3)
        else:
            client.send(client.request(3))
            with pytest.raises((EOFError, TimeoutError)):
                await client.status(3, SILENCE)


async def test_the_window_of_dropped_data_comes_back() -> None:
    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"", 413)

    settings = Http2Settings(connection_window=262_144, stream_window=131_072)
    async with (
        serving(Site({"/refuse": refuse}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/refuse", method="POST", end=False))
        assert await client.status(1) == 413
        client.send(data(1, b"x" * 131_072))
        updates: dict[int, int] = {}
        while sum(updates.values()) < 2 * 131_072:
            frame = await client.until(WindowUpdateFrame)
            updates[frame.stream_id] = updates.get(frame.stream_id, 0) + frame.window_increment
            updates[0] = min(updates.get(0, 0), 131_072)
        assert updates == {0: 131_072, 1: 131_072}


async def test_an_endless_body_is_stopped_after_an_early_answer() -> None:
    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"", 413)

    settings = Http2Settings(early_answer_drain=100_000)
    async with (
        serving(Site({"/refuse": refuse}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/refuse", method="POST", end=False))
        assert await client.status(1) == 413
        for _ in range(20):
            client.send(data(1, b"x" * 16_000))
        assert await client.reset(1) == ErrorCodes.NO_ERROR
        assert await client.alive(3)


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
        if cured:
            assert await client.alive(3)
        else:
            client.send(client.request(3))
            with pytest.raises(TimeoutError):
                await client.status(3, SILENCE)
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
            client.send(client.request(2 * 1050 + 1))
            with pytest.raises((EOFError, TimeoutError)):
                await client.status(2 * 1050 + 1, SILENCE)


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
async def test_a_blocked_answer_is_released_when_the_client_leaves(cured: bool) -> None:
    site = Site()

    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await answer(send, b"x" * 2**20)
        finally:
            site.event("released").set()

    site.handlers["/large"] = large
    async with serving(site, cured=cured) as server:
        async with peer(server.port) as client:
            client.send(client.request(1, "/large"))
            # The window of 64 KiB is used up then.
            got = 0
            while got < 65_535:
                got += len((await client.until(DataFrame, 1)).data)
            assert not site.event("released").is_set()
        patience = 10.0 if cured else SILENCE
        try:
            await asyncio.wait_for(site.event("released").wait(), patience)
        except TimeoutError:
            assert not cured
        else:
            assert cured


async def test_a_reset_releases_a_blocked_answer_and_tells_the_handler() -> None:
    site = Site()
    told = []

    async def large(_scope: Any, receive: Any, send: Any) -> None:
        await read_all(receive)
        await answer(send, b"x" * 2**20)
        told.append((await receive())["type"])
        site.event("done").set()

    site.handlers["/large"] = large
    async with serving(site) as server, peer(server.port) as client:
        client.send(client.request(1, "/large"))
        await client.until(DataFrame, 1)
        client.send(RstStreamFrame(1, ErrorCodes.CANCEL))
        await asyncio.wait_for(site.event("done").wait(), 10)
        assert told == ["http.disconnect"]
        # What the client was sent fills the connection's window: open it again.
        client.send(WindowUpdateFrame(0, 2**20))
        assert await client.alive(3)


@both
async def test_an_idle_connection_ends_with_goaway(cured: bool) -> None:
    limit: dict[str, Any] = (
        {"settings": Http2Settings(idle_timeout=0.2)} if cured else {"keep_alive_timeout": 0.2}
    )
    async with serving(Site(), cured=cured, **limit) as server, peer(server.port) as client:
        assert await client.alive(1)
        kinds = [type(frame) for frame in await client.rest()]
    assert (GoAwayFrame in kinds) is cured


@both
async def test_the_header_list_limit_is_enforced(cured: bool) -> None:
    limit: dict[str, Any] = {} if cured else {"h2_max_header_list_size": 16 * 1024}
    async with serving(Site(), cured=cured, **limit) as server, peer(server.port) as client:
        fields = tuple((f"x-{number}", "v" * 90) for number in range(150))
        client.send(client.request(1, fields=fields))
        assert await client.status(1) == (431 if cured else 200)
        assert await client.alive(3)


@both
async def test_a_client_that_expects_100_gets_it(cured: bool) -> None:
    async with serving(Site({"/": size}), cured=cured) as server, peer(server.port) as client:
        fields = (("expect", "100-continue"), ("content-length", "1"))
        client.send(client.request(1, method="POST", fields=fields, end=False))
        if cured:
            assert await client.status(1) == 100
        else:
            with pytest.raises(TimeoutError):
                await client.status(1, SILENCE)
        client.send(data(1, b"x", end=True))
        assert await client.status(1) == 200


async def test_an_early_answer_takes_the_place_of_100() -> None:
    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"", 413)

    async with serving(Site({"/": refuse})) as server, peer(server.port) as client:
        fields = (("expect", "100-continue"), ("content-length", "1"))
        client.send(client.request(1, method="POST", fields=fields, end=False))
        assert await client.status(1) == 413


@pytest.mark.parametrize("guarded", [True, False])
async def test_a_flood_of_resets_ends_its_connection_only(guarded: bool) -> None:
    burst = 100 if guarded else 1_000_000
    settings = Http2Settings(reset_burst=burst, reset_rate=1)
    async with (
        serving(Site({"/wait": wait}), settings=settings) as server,
        peer(server.port) as attacker,
        peer(server.port) as other,
    ):
        for stream_id in range(1, 2001, 2):
            attacker.send(attacker.request(stream_id, "/wait"))
            attacker.send(RstStreamFrame(stream_id, ErrorCodes.CANCEL))
        if guarded:
            assert await attacker.goaway() == ErrorCodes.ENHANCE_YOUR_CALM
        else:
            assert await attacker.alive(2001)
        assert await other.alive(1)


async def _refuses_connections(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        writer.close()


@both
async def test_a_graceful_end_loses_nothing(cured: bool) -> None:
    site = Site()
    leaving = asyncio.Event()

    async def poll(_scope: Any, _receive: Any, send: Any) -> None:
        await leaving.wait()
        await answer(send, b"", 204)

    site.handlers |= {"/poll": poll, "/push": size}
    async with serving(site, cured=cured) as server, peer(server.port) as client:
        client.send(client.request(1, "/poll"))
        client.send(client.request(3, "/push", method="POST", end=False), data(3, b"abc"))
        assert await client.alive(5)
        if not cured:
            server.stop.set()
            await _refuses_connections(server.port)
            client.send(client.request(7))
            assert await client.reset(7) == ErrorCodes.NO_ERROR
            leaving.set()
            client.send(data(3, end=True))
            assert await client.status(1) == 204
            return
        assert server.registry is not None
        server.registry.on_drain(leaving.set)
        server.stop.set()
        # Stock h2 takes nothing after GOAWAY: the answers come before it.
        assert await client.status(1) == 204
        client.send(client.request(7), data(3, b"def", end=True))
        statuses: dict[int, str] = {}
        refused = []
        for frame in await client.rest():
            if isinstance(frame, HeadersFrame):
                statuses[frame.stream_id] = frame.fields[":status"]  # type: ignore[attr-defined]
            elif isinstance(frame, RstStreamFrame):
                refused.append((frame.stream_id, frame.error_code))
        assert statuses == {3: "200"}
        assert refused == [(7, ErrorCodes.REFUSED_STREAM)]
        assert isinstance(client.seen[-1], GoAwayFrame)
        await asyncio.wait_for(server.task, 10)


async def test_a_graceful_end_is_over_in_time_though_a_stream_is_not() -> None:
    settings = Http2Settings(drain_timeout=0.2, linger=0.1)
    site = Site({"/wait": wait})
    async with serving(site, settings=settings) as server, peer(server.port) as client:
        client.send(client.request(1, "/wait"))
        assert await client.alive(3)
        server.stop.set()
        await client.rest()
        await asyncio.wait_for(server.task, 10)


async def test_settings_come_first_and_say_the_limits() -> None:
    async with serving(Site()) as server, peer(server.port) as client:
        frame = await client.next()
        assert isinstance(frame, SettingsFrame)
        limits = Http2Settings()
        assert frame.settings == {
            SettingsFrame.ENABLE_PUSH: 0,
            SettingsFrame.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
            SettingsFrame.INITIAL_WINDOW_SIZE: limits.stream_window,
            SettingsFrame.MAX_FRAME_SIZE: limits.max_frame_size,
            SettingsFrame.MAX_HEADER_LIST_SIZE: limits.max_header_list_size,
        }
