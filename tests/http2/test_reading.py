"""What is read before the application has its turn."""

from __future__ import annotations

import asyncio
from typing import Any

from support.libuv import Libuv

from batchq.http2.link import Link, ReadBuffer

END = b"!"


class Requests:
    """A connection of which each ``!`` ends a body."""

    def __init__(self) -> None:
        self.bodies = 0

    def receive(self, view: memoryview, end: int) -> int:
        self.bodies += bytes(view[:end]).count(END)
        return end

    def lost(self) -> None:
        pass


def reading(size: int) -> tuple[Requests, Libuv, Link]:
    requests, uv = Requests(), Libuv()
    connection: Any = requests
    transport: Any = uv
    link = Link(connection, ReadBuffer(size), lambda _: None)
    link.connection_made(transport)
    return requests, uv, link


async def test_a_request_that_has_come_is_begun_before_the_next_is_read() -> None:
    requests, uv, link = reading(16)
    uv.unread = (b"x" * 40 + END) * 3
    seen = []
    while uv.unread:
        uv.poll(link)
        asyncio.get_running_loop().call_soon(lambda: seen.append(requests.bodies))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not uv.paused
    assert seen == [1, 2, 3]


async def test_small_requests_that_came_together_are_read_together() -> None:
    requests, uv, link = reading(64)
    uv.unread = END * 20
    uv.poll(link)
    assert requests.bodies == 20
    assert not uv.paused


async def test_a_connection_that_is_gone_meanwhile_is_left_alone() -> None:
    _, uv, link = reading(4)
    uv.unread = b"xxx!xxxx"
    uv.poll(link)
    link.connection_lost(None)
    await asyncio.sleep(0)
    assert uv.paused
