"""The cap on connections: who is refused, and whom that leaves alone."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest
from click.testing import CliRunner
from http2.h2_support import (
    PATIENCE,
    Server,
    Site,
    both,
    on_and_off,
    peer,
    serving,
    settled,
)
from support.servers import ServerProcess

import batchq.cli.server
import batchq.server
from batchq.http2 import Http2Settings
from batchq.http2.registry import Registry
from batchq_client.transport import MultiplexTransport, safe_to_resend

HTTP1_GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def opened(server: Server, request: bytes) -> bytes:
    """Open a connection and send a request; give the first of the answer, if any comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(request)
            return await reader.readexactly(12)
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""
    finally:
        writer.transport.abort()


@on_and_off
async def test_a_connection_above_the_limit_is_closed_and_no_other(
    cured: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Http2Settings(max_connections=3 if cured else 4096)
    async with serving(Site(), settings=settings) as server, AsyncExitStack() as stack:
        others = [await stack.enter_async_context(peer(server.port)) for _ in range(3)]
        for other in others:
            assert await other.alive(1)
        with caplog.at_level(logging.WARNING, logger="batchq.http2"):
            answers = [await opened(server, HTTP1_GET) for _ in range(5)]
        assert answers == ([b""] if cured else [b"HTTP/1.1 200"]) * 5
        # One line for the first; the rest follow later, all in one.
        lines = [record.getMessage() for record in caplog.records]
        assert lines == (
            ["connections refused: 1; as many are open as are allowed: 3"] if cured else []
        )
        for other in others:
            assert await other.alive(3)


async def gone(count: Callable[[], int]) -> None:
    """Return once there is nothing left; what ends does so without an event to wait for."""
    async with asyncio.timeout(PATIENCE):
        while count():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_place_that_is_left_is_taken_by_the_next() -> None:
    async with serving(Site(), settings=Http2Settings(max_connections=1)) as server:
        for _ in range(3):
            async with peer(server.port) as client:
                assert await client.alive(1)
                assert await opened(server, HTTP1_GET) == b""
            # The server hears of the end when it looks next.
            async with asyncio.timeout(PATIENCE):
                while not await opened(server, HTTP1_GET):
                    pass
            assert server.registry is not None
            await gone(partial(getattr, server.registry, "admitted"))


def connection_tasks() -> int:
    """How many connections the server, which runs in this loop, has a task for."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return sum(name.endswith("_server_callback") for name in names)


@both
async def test_nothing_is_kept_of_an_http1_connection_that_has_gone(cured: bool) -> None:
    """Hypercorn keeps it until its time for idle connections is over."""
    async with serving(Site(), cured=cured, keep_alive_timeout=60) as server:
        for _ in range(5):
            assert await opened(server, HTTP1_GET) == b"HTTP/1.1 200"
        await settled(server.port)
        if cured:
            await gone(connection_tasks)
        else:
            assert connection_tasks() >= 5


async def test_our_client_knows_that_nothing_was_done() -> None:
    async with (
        serving(Site(), settings=Http2Settings(max_connections=1)) as server,
        peer(server.port) as first,
        MultiplexTransport() as transport,
    ):
        assert await first.alive(1)
        request = httpx.Request("GET", f"http://127.0.0.1:{server.port}/")
        with pytest.raises(httpx.TransportError) as caught:
            await transport.handle_async_request(request)
        assert safe_to_resend(caught.value)
        assert await first.alive(3)


def test_the_server_takes_its_limit_from_a_flag() -> None:
    with ServerProcess("--max-connections", "1") as running:
        host, port = running.url.rpartition("/")[2].split(":")

        def asked(sock: socket.socket) -> bytes:
            try:
                sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                return sock.recv(12)
            except ConnectionError:
                return b""

        with socket.create_connection((host, int(port)), timeout=PATIENCE) as first:
            assert asked(first) == b"HTTP/1.1 200"
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as second:
                assert asked(second) == b""
        assert running.stop() == 0
        assert running.stderr.count("connections refused: 1;") == 1


def test_the_flag_is_in_the_help() -> None:
    told = CliRunner().invoke(batchq.cli.server.server, ["--help"], terminal_width=200).output
    assert "[env var: BATCHQ_MAX_CONNECTIONS; default: 4096; 1<=x<=2147483647]" in " ".join(
        told.split()
    )


def test_refusals_are_counted_into_one_line_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry(Http2Settings(max_connections=1))
    assert registry.admit(100.0)
    with caplog.at_level(logging.WARNING, logger="batchq.http2"):
        refused = [registry.admit(100.0 + second) for second in range(12)]
    assert not any(refused)
    assert [record.getMessage() for record in caplog.records] == [
        "connections refused: 1; as many are open as are allowed: 1",
        "connections refused: 10; as many are open as are allowed: 1",
    ]


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "most"),
    [
        (8192, 8192, None, 4096),
        (1024, 8192, 4224, 4096),
        (1024, resource.RLIM_INFINITY, 4224, 4096),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 4096),
        (256, 1024, 1024, 896),
        (64, 64, 64, 1),
    ],
)
def test_connections_fit_into_the_limit_of_descriptors(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    raised: int | None,
    most: int,
) -> None:
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, pair: limits.append(pair))
    fitting = batchq.server._fitting(Http2Settings())
    assert fitting.max_connections == most
    assert limits == ([] if raised is None else [(raised, hard)])
