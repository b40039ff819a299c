"""Clients that fall silent: who is asked, who is given up, and who may take their time."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from http2.h2_support import (
    PATIENCE,
    Peer,
    Site,
    answer,
    data,
    on_and_off,
    peer,
    read_all,
    serving,
    settled,
)
from hyperframe.frame import PingFrame

from batchq.http2 import Http2Settings

SOON = 0.1
NEVER = 3600.0


def site_that_tells() -> Site:
    """One that takes bodies, and tells when a client has left."""
    site = Site()

    async def waiting(_scope: Any, receive: Any, send: Any) -> None:
        site.event("began").set()
        body = await read_all(receive)
        while body is not None and (await receive())["type"] != "http.disconnect":
            pass
        site.event("left").set()

    async def taking(_scope: Any, receive: Any, send: Any) -> None:
        first = await receive()
        site.event("began").set()
        rest = await read_all(receive) if first["more_body"] else b""
        if rest is None:
            site.event("left").set()
        else:
            await answer(send, first["body"] + rest)

    site.handlers |= {"/wait": waiting, "/take": taking}
    return site


async def pings(client: Peer, count: int, *, answered: bool = True) -> None:
    """Take so many PINGs: the time that they are apart has passed as often."""
    for _ in range(count):
        frame = await client.until(PingFrame)
        if answered:
            client.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))


@on_and_off
async def test_a_client_that_is_silent_while_it_waits_is_given_up(cured: bool) -> None:
    site = site_that_tells()
    settings = Http2Settings(ping_interval=SOON, ping_timeout=SOON if cured else NEVER)
    async with (
        serving(site, settings=settings) as server,
        peer(server.port) as client,
        peer(server.port) as other,
    ):
        client.send(client.request(1, "/wait"))
        await client.until(PingFrame)
        if cured:
            assert await client.next() is None
            await asyncio.wait_for(site.event("left").wait(), PATIENCE)
        else:
            other.send(other.request(1, "/wait"))
            await pings(other, 1)
            assert not site.event("left").is_set()
            assert await client.alive(3)


async def test_a_client_that_answers_stays() -> None:
    site = site_that_tells()
    settings = Http2Settings(ping_interval=SOON, ping_timeout=SOON)
    async with serving(site, settings=settings) as server, peer(server.port) as client:
        client.send(client.request(1, "/wait"))
        await pings(client, 5)
        assert await client.alive(3)
        assert not site.event("left").is_set()


async def test_a_client_that_sends_a_body_need_not_answer() -> None:
    """It may be reading from a pipe that has nothing to read."""
    settings = Http2Settings(ping_interval=SOON, ping_timeout=SOON)
    async with (
        serving(site_that_tells(), settings=settings) as server,
        peer(server.port) as client,
    ):
        client.send(client.request(1, "/take", method="POST", end=False), data(1, b"a"))
        await pings(client, 4, answered=False)
        client.send(data(1, b"b", end=True))
        assert await client.status(1) == 200
        assert await client.body(1) == b"ab"


async def test_curl_may_wait_for_its_source() -> None:
    site = site_that_tells()
    settings = Http2Settings(ping_interval=SOON, ping_timeout=SOON)
    async with serving(site, settings=settings) as server, peer(server.port) as clock:
        url = f"http://127.0.0.1:{server.port}/take"
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "--http2-prior-knowledge", "-T", "-", url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert curl.stdin is not None
        curl.stdin.write(b"before ")
        await asyncio.wait_for(site.event("began").wait(), PATIENCE)
        clock.send(clock.request(1, "/wait"))
        await pings(clock, 5)
        curl.stdin.write(b"after")
        curl.stdin.close()
        assert curl.stdout is not None
        assert await curl.stdout.read() == b"before after"
        assert await curl.wait() == 0


@on_and_off
async def test_a_body_that_does_not_go_on_is_cancelled_alone(cured: bool) -> None:
    site = site_that_tells()
    settings = Http2Settings(body_timeout=SOON if cured else NEVER, idle_timeout=4 * SOON)
    async with (
        serving(site, settings=settings) as server,
        peer(server.port) as client,
        peer(server.port) as idle,
    ):
        client.send(client.request(1, "/take", method="POST", end=False), data(1, b"a"))
        if cured:
            assert await client.reset(1) == ErrorCodes.CANCEL
            await asyncio.wait_for(site.event("left").wait(), PATIENCE)
        else:
            # A multiple of the time of the other is over when this one ends.
            await idle.rest()
            client.send(data(1, b"b", end=True))
            assert await client.body(1) == b"ab"
        assert await client.alive(3)


@on_and_off
async def test_a_body_over_http1_that_does_not_go_on_is_given_up(cured: bool) -> None:
    site = site_that_tells()
    settings = Http2Settings(body_timeout=SOON if cured else NEVER, idle_timeout=4 * SOON)
    async with serving(site, settings=settings) as server, peer(server.port) as idle:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        if cured:
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
                await site.event("left").wait()
        else:
            await idle.rest()
            writer.write(b"b")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_who_waits_over_http1_for_an_answer_is_not_hurried() -> None:
    site = site_that_tells()
    settings = Http2Settings(body_timeout=SOON, idle_timeout=4 * SOON)
    async with serving(site, settings=settings) as server, peer(server.port) as idle:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
        await asyncio.wait_for(site.event("began").wait(), PATIENCE)
        await idle.rest()
        assert not site.event("left").is_set()
        assert not reader.at_eof()
        writer.close()
        await writer.wait_closed()


def keep_alive_timers(port: int) -> int:
    """Count the connections of a port on which the kernel has a probe to send."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    open_ = [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    return sum(row[5].startswith("02:") for row in open_)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel does not tell")
async def test_the_machines_of_silent_clients_are_probed() -> None:
    async with serving(Site()) as server, peer(server.port) as second:
        assert await second.alive(1)
        with socket.create_connection(("127.0.0.1", server.port)):
            await settled(server.port)
            assert keep_alive_timers(server.port) == 2
