"""Whose turn it is to send, and what that costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from http2.h2_support import on_and_off

from batchq.http2 import Http2Settings, frames
from batchq.http2.sender import SendBuffer, Sender


class Wire:
    """A transport that notes what it is given."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.got.append(bytes(data))

    def writelines(self, pieces: list[Any]) -> None:
        self.got.append(b"".join(pieces))


def sender_on(wire: Wire, **limits: Any) -> Sender:
    loop = asyncio.get_running_loop()
    sender = Sender(Http2Settings(**limits), loop, lambda: None)
    sender.window = 2**30
    any_wire: Any = wire
    sender.attach(any_wire)
    return sender


def order(wire: Wire) -> list[int]:
    """Return the stream of each DATA frame in turn."""
    view, streams = b"".join(wire.got), []
    while view:
        length = int.from_bytes(view[:3])
        streams.append(int.from_bytes(view[5:9]))
        view = view[9 + length :]
    return streams


@on_and_off
async def test_streams_take_turns(cured: bool) -> None:
    wire = Wire()
    sender = sender_on(wire, send_quantum=16_384 if cured else 2**20)
    for stream_id in (1, 3, 5):
        buffer = SendBuffer(stream_id, 2**20, lambda: None)
        sender.push(buffer, memoryview(bytes(3 * 16_384)), end=True)
    sender.flush()
    assert order(wire) == ([1, 3, 5] * 3 if cured else [1, 1, 1, 3, 3, 3, 5, 5, 5])


async def test_a_stream_without_window_stands_in_no_queue() -> None:
    wire = Wire()
    sender = sender_on(wire)
    ended = []
    stuck = SendBuffer(1, 0, lambda: ended.append(1))
    free = SendBuffer(3, 100, lambda: ended.append(3))
    sender.push(stuck, memoryview(b"x"), end=True)
    sender.push(free, memoryview(b"x"), end=True)
    assert not stuck.queued
    sender.flush()
    assert ended == [3]
    stuck.window = 1
    sender.offer(stuck)
    sender.flush()
    assert ended == [3, 1]


class Vectored(Wire):
    """One of uvloop's, as far as the sender looks."""

    __module__ = "uvloop.loop"

    def writelines(self, pieces: list[Any]) -> None:
        self.got += pieces


@pytest.mark.parametrize("size", [0, 1, 32 * 1024 - 1, 32 * 1024, 2**20])
async def test_a_whole_answer_is_one_write_and_a_large_one_is_not_copied(size: int) -> None:
    wire, sent = Vectored(), []
    sender = sender_on(wire)
    sender.max_frame_size = 2**20
    buffer = SendBuffer(1, 2**20, lambda: sent.append(1))
    body = bytes(size)
    assert sender.fits(buffer, size)
    sender.write_answer(buffer, b"head", body)
    sender.flush()
    head = b"head" + frames.header(size, frames.DATA, frames.END_STREAM, 1)
    assert b"".join(wire.got) == head + body
    assert any(piece is body for piece in wire.got) == (size >= 32 * 1024)
    assert sent == [1]
    assert buffer.window == 2**20 - size


@on_and_off
async def test_a_turn_costs_the_same_beside_many_stuck_streams(
    cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: stuck streams are never looked at."""
    if not cured:

        def queue_always(sender: Sender, buffer: SendBuffer) -> None:
            if not buffer.queued:
                buffer.queued = True
                sender._ready.append(buffer)

        monkeypatch.setattr(Sender, "offer", queue_always)
    wire = Wire()
    sender = sender_on(wire)
    looked_at = 0

    class Counting(SendBuffer):
        __slots__ = ()

        def wake(self) -> None:
            nonlocal looked_at
            looked_at += 1
            super().wake()

    for stream_id in range(1, 10_001, 2):
        sender.push(Counting(stream_id, 0, lambda: None), memoryview(b"x"), end=True)
    sender.push(Counting(10_001, 100, lambda: None), memoryview(b"x"), end=True)
    sender.flush()
    assert order(wire) == [10_001]
    assert looked_at == (1 if cured else 5001)


async def test_a_blocked_transport_gets_nothing_more() -> None:
    wire = Wire()
    sender = sender_on(wire)
    sender.pause()
    buffer = SendBuffer(1, 100, lambda: None)
    sender.push(buffer, memoryview(b"x" * 50), end=True)
    sender.write(b"frame")
    sender.flush()
    assert wire.got == []
    sender.resume()
    assert b"frame" in wire.got[0]
    assert b"x" * 50 in wire.got[0]


async def test_the_application_waits_for_room() -> None:
    wire = Wire()
    sender = sender_on(wire)
    buffer = SendBuffer(1, 10, lambda: None)
    sender.push(buffer, memoryview(b"x" * 30), end=True)
    waiting = asyncio.create_task(buffer.room(15))
    await asyncio.sleep(0)
    sender.flush()
    await asyncio.sleep(0)
    assert not waiting.done()
    buffer.window = 5
    sender.offer(buffer)
    sender.flush()
    await asyncio.wait_for(waiting, 5)
    assert buffer.size == 15
