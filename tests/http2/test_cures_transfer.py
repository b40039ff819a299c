"""Windows, frames and reads, each beside the stack without the cure."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.events
import hyperframe.frame
import pytest
from h2.errors import ErrorCodes
from http2.h2_support import (
    Site,
    answer,
    both,
    comes,
    data,
    on_and_off,
    peer,
    serving,
    size,
)
from hypercorn.events import RawData
from hypercorn.protocol import ProtocolWrapper
from hyperframe.frame import (
    DataFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from batchq.http2 import Http2Settings
from batchq.http2.body import RequestBody
from batchq.http2.connection import Connection


async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
    await answer(send, b"", 413)


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
async def test_more_than_64_kib_are_read_at_once(
    cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    ours, stock = Connection.receive, ProtocolWrapper.handle

    def receive(connection: Connection, view: memoryview, end: int) -> int:
        reads.append(end)
        return ours(connection, view, end)

    async def handle(protocol: ProtocolWrapper, event: Any) -> None:
        if isinstance(event, RawData):
            reads.append(len(event.data))
        await stock(protocol, event)

    monkeypatch.setattr(Connection, "receive", receive)
    monkeypatch.setattr(ProtocolWrapper, "handle", handle)
    pieces = 256
    async with (
        serving(Site({"/": size}), cured=cured, receive_buffer=2**20) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, method="POST", end=False))
        if cured:
            client.send(*[data(1, b"x" * 16_000)] * pieces, data(1, end=True))
        else:
            # By itself it would be sent one window only; what is read has no window.
            client.send(*[PingFrame(0)] * 20_000, data(1, end=True))
        assert await client.status(1) == 200
    assert (max(reads) > 2**16) is cured


@on_and_off
async def test_the_window_of_dropped_data_comes_back(
    cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cured:
        fed = RequestBody.feed

        def forgetful(body: RequestBody, piece: bytes) -> bool:
            return True if body.dropping else fed(body, piece)

        monkeypatch.setattr(RequestBody, "feed", forgetful)
    settings = Http2Settings(connection_window=262_144, stream_window=131_072)
    async with (
        serving(Site({"/refuse": refuse}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/refuse", method="POST", end=False))
        assert await client.status(1) == 413
        await client.handled()
        client.seen.clear()
        client.send(data(1, b"x" * 131_072))
        await client.handled()
        given = {0: 0, 1: 0}
        for frame in client.seen:
            if isinstance(frame, WindowUpdateFrame):
                given[frame.stream_id] += frame.window_increment
        assert given == ({0: 131_072, 1: 131_072} if cured else {0: 0, 1: 0})


@on_and_off
async def test_an_endless_body_is_stopped_after_an_early_answer(cured: bool) -> None:
    settings = Http2Settings(early_answer_drain=100_000 if cured else 2**30)
    async with (
        serving(Site({"/refuse": refuse}), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/refuse", method="POST", end=False))
        assert await client.status(1) == 413
        for _ in range(20):
            client.send(data(1, b"x" * 16_000))
        await client.handled()
        resets = [frame for frame in client.seen if isinstance(frame, RstStreamFrame)]
        assert [frame.error_code for frame in resets] == ([ErrorCodes.NO_ERROR] if cured else [])
        assert await client.alive(3)


@both
async def test_a_client_that_expects_100_gets_it(cured: bool) -> None:
    async with serving(Site({"/": size}), cured=cured) as server, peer(server.port) as client:
        fields = (("expect", "100-continue"), ("content-length", "1"))
        client.send(client.request(1, method="POST", fields=fields, end=False))
        told = asyncio.create_task(client.status(1))
        assert await comes(told, server.port, expected=cured) is cured
        client.send(data(1, b"x", end=True))
        # Without the cure the first that it hears is the answer.
        assert await told == (100 if cured else 200)
        if cured:
            assert await client.status(1) == 200


async def test_an_early_answer_takes_the_place_of_100() -> None:
    async with serving(Site({"/": refuse})) as server, peer(server.port) as client:
        fields = (("expect", "100-continue"), ("content-length", "1"))
        client.send(client.request(1, method="POST", fields=fields, end=False))
        assert await client.status(1) == 413


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
