"""Servers that close on HTTP/2's first words: they have none, or they are just ending."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme
from support.clock import VirtualTimeLoop, advance
from transport.raw_server import RawPeer, RawServer

from batchq_client.transport import (
    ClosedBeforeSettings,
    HTTP2NotSupported,
    MultiplexTransport,
    safe_to_resend,
)

TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"


class OldServer:
    """Speaks HTTP/1.1 alone, and hangs up on what it does not know."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.split()[0])
        if head.startswith(b"POST"):
            await reader.readexactly(4)
        if not head.startswith(b"PRI"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nold")
        writer.close()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            yield


def hang_up(peer: RawPeer, *, reset: bool) -> None:
    if reset:
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
    else:
        peer.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_peer_that_closes_before_a_word_may_have_no_http2_and_may_come_back(
    raw: RawServer, client: httpx.AsyncClient, reset: bool
) -> None:
    task = asyncio.create_task(client.get(raw.url))
    peer = await raw.accept()
    await peer.reader.readexactly(24)
    hang_up(peer, reset=reset)
    with pytest.raises(ClosedBeforeSettings, match="may not speak HTTP/2") as caught:
        await task
    assert safe_to_resend(caught.value)
    assert not isinstance(caught.value, HTTP2NotSupported)
    again = asyncio.create_task(client.get(raw.url))
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.answer(stream_id)
    assert (await again).status_code == 200


async def test_a_tls_port_is_named(raw: RawServer, client: httpx.AsyncClient) -> None:
    task = asyncio.create_task(client.get(raw.url))
    peer = await raw.accept()
    await peer.send_bytes(TLS_ALERT)
    with pytest.raises(HTTP2NotSupported, match="https://"):
        await task


async def test_where_asked_http1_is_spoken_to_one_that_closed() -> None:
    old = OldServer()
    transport = MultiplexTransport(http1=True)
    async with old.run(), httpx.AsyncClient(transport=transport) as client:
        for _ in range(2):
            response = await client.post(old.url, content=iter_of(b"body"))
            assert (response.http_version, response.content) == ("HTTP/1.1", b"old")
    assert old.heads == [b"PRI", b"POST", b"POST"]


async def test_closing_in_whichever_turn_opens_no_connection_for_http1() -> None:
    old = OldServer()
    async with old.run():
        for turns in range(40):
            transport = MultiplexTransport(http1=True, verify=False)
            client = httpx.AsyncClient(transport=transport)
            task = asyncio.create_task(client.get(old.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            before = transport._http1_transport
            await client.aclose()
            await asyncio.gather(task, return_exceptions=True)
            assert transport._http1_transport is before


async def iter_of(piece: bytes) -> AsyncIterator[bytes]:
    yield piece[:2]
    yield piece[2:]


def test_one_that_closed_is_asked_for_http2_again_after_a_minute() -> None:
    async def main() -> None:
        old = OldServer()
        transport = MultiplexTransport(http1=True)
        async with old.run(), httpx.AsyncClient(transport=transport) as client:
            for silence in (0, 59, 2):
                await advance(silence)
                assert (await client.get(old.url)).content == b"old"
        assert old.heads == [b"PRI", b"GET", b"GET", b"PRI", b"GET"]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())


async def test_one_that_answers_neither_is_asked_for_http2_at_once(raw: RawServer) -> None:
    async with httpx.AsyncClient(transport=MultiplexTransport(http1=True)) as client:
        task = asyncio.create_task(client.get(raw.url))
        for _ in range(2):
            peer = await raw.accept()
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.close()
        with pytest.raises(httpx.TransportError):
            await task
        task = asyncio.create_task(client.get(raw.url))
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        await peer.answer(stream_id)
        assert (await task).http_version == "HTTP/2"


async def test_one_that_chose_http2_by_alpn_has_it_though_it_closes() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context)
    transport = MultiplexTransport(verify=trusting, http1=True)
    async with server, httpx.AsyncClient(transport=transport) as client:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(httpx.ConnectError, match="closed") as caught:
            await client.get(f"https://localhost:{port}/")
    assert not isinstance(caught.value, ClosedBeforeSettings)
