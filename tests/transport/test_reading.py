"""What is read before who waits for an answer has his turn."""

import asyncio
from typing import Any

from hpack import Encoder
from hyperframe.frame import HeadersFrame, SettingsFrame
from support.libuv import Libuv
from transport.raw_server import data

from batchq_client.transport.connection import Connection
from batchq_client.transport.settings import TransportSettings

SIZE = 8 * 1024
REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/")]


def answer(encoder: Encoder, stream_id: int) -> bytes:
    head = HeadersFrame(stream_id, data=encoder.encode([(":status", "200")]), flags=["END_HEADERS"])
    body = data(stream_id, bytes(SIZE), end=True)
    return head.serialize() + body.serialize()


def reading(answers: int, read_buffer: int) -> tuple[Connection, Libuv]:
    connection = Connection(TransportSettings(read_buffer=read_buffer), lambda _: None)
    uv = Libuv()
    transport: Any = uv
    connection.connection_made(transport)
    uv.unread = SettingsFrame(0).serialize()
    uv.poll(connection)
    encoder = Encoder()
    for number in range(answers):
        connection.reserve()
        assert connection.open(REQUEST, end_stream=True) is not None
        uv.unread += answer(encoder, 2 * number + 1)
    return connection, uv


async def test_who_waits_for_an_answer_goes_on_before_the_next_is_read() -> None:
    connection, uv = reading(3, 1024)
    left = []
    while connection.busy:
        uv.poll(connection)
        left.append(-(-len(uv.unread) // SIZE))
        await asyncio.sleep(0)
        assert not uv.paused
    assert left == [2, 1, 0]


async def test_answers_that_came_together_are_read_together() -> None:
    connection, uv = reading(3, 64 * 1024)
    uv.poll(connection)
    assert not connection.busy
    assert not uv.paused
