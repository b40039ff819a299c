"""How connections end, each beside the stack without the cure."""

from __future__ import annotations

import asyncio
from typing import Any

from h2.errors import ErrorCodes
from http2.h2_support import Site, answer, both, data, on_and_off, peer, serving, size, wait
from hyperframe.frame import GoAwayFrame, HeadersFrame, RstStreamFrame

from batchq.http2 import Http2Settings


async def refuses_connections(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        writer.close()


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
            await refuses_connections(server.port)
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


@on_and_off
async def test_a_graceful_end_is_over_in_time_though_a_stream_is_not(cured: bool) -> None:
    seconds = 0.2
    settings = Http2Settings(drain_timeout=seconds if cured else 60, linger=0.1)
    site = Site({"/wait": wait})
    async with serving(site, settings=settings) as server, peer(server.port) as client:
        client.send(client.request(1, "/wait"))
        assert await client.alive(3)
        server.stop.set()
        if cured:
            await client.rest()
            assert isinstance(client.seen[-1], GoAwayFrame)
        else:
            await refuses_connections(server.port)
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(2 * seconds, over.set)
            await over.wait()
            # Its time is over twice, and it answers still: it waits for the client.
            await client.handled()
            assert not server.task.done()
            client.send(RstStreamFrame(1, ErrorCodes.CANCEL))
            await client.goaway()
        await asyncio.wait_for(server.task, 10)
