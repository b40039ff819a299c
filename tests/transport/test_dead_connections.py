"""Connections whose peer is gone without a word: noticed, left, and replaced.

Time is virtual where it would be long; the sockets are real.
"""

import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hyperframe.frame import PingFrame, SettingsFrame
from support.clock import VirtualTimeLoop, advance, settle
from support.faults import Fault, Kind, Way
from support.proxy import Proxy, address_of
from support.servers import ServerProcess
from support.stream import assert_identical
from transport.http_clients import multiplex_client
from transport.raw_server import PREFACE, RawPeer, RawServer, window

from batchq_client.copy import (
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
    write_queue,
)
from batchq_client.transport import TransportSettings, safe_to_resend
from batchq_client.transport.keepalive import Keepalive

FROZEN = Fault(Kind.BLACK_HOLE, seconds=math.inf)


def start(client: httpx.AsyncClient, url: str, **options: Any) -> "asyncio.Task[httpx.Response]":
    method = "POST" if "content" in options else "GET"
    return asyncio.create_task(client.request(method, url, **options))


def answer_to(ping: PingFrame) -> PingFrame:
    return PingFrame(0, opaque_data=ping.opaque_data, flags=["ACK"])


def on_virtual_time(main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


async def test_a_silent_peer_is_pinged_and_given_up(raw: RawServer) -> None:
    async with multiplex_client(ping_interval=0.05, ping_timeout=0.1) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        await peer.request()
        await peer.next(PingFrame)
        with pytest.raises(httpx.ReadError, match="PING") as caught:
            await task
        assert not safe_to_resend(caught.value)


async def test_a_peer_that_answers_pings_is_kept(raw: RawServer) -> None:
    async with multiplex_client(ping_interval=0.02, ping_timeout=5) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        for _ in range(3):
            await peer.send(answer_to(await peer.next(PingFrame)))
        await peer.answer(stream_id)
        assert (await task).status_code == 200


@pytest.mark.parametrize("probed", [True, False])
def test_silence_is_borne_for_25_seconds_unless_it_is_turned_off(probed: bool) -> None:
    async def main() -> None:
        off = {} if probed else {"ping_interval": None}
        async with RawServer.run() as raw, multiplex_client(**off) as client:
            task = start(client, raw.url, timeout=None)
            peer = await raw.peer()
            stream_id, _ = await peer.request()
            await advance(14.9)
            assert not pings_sent(peer)
            await advance(10)
            assert not task.done()
            await advance(0.2)
            assert task.done() is probed
            await advance(1000)
            if probed:
                with pytest.raises(httpx.ReadError, match="PING"):
                    await task
                return
            await peer.answer(stream_id)
            assert (await task).status_code == 200
            assert not pings_sent(peer)

    on_virtual_time(main)


def pings_sent(peer: RawPeer) -> list[PingFrame]:
    return [frame for frame in peer.seen(PingFrame) if "ACK" not in frame.flags]


def test_what_was_silent_for_long_is_asked_with_its_next_request_and_not_else() -> None:
    async def main() -> None:
        async with RawServer.run() as raw, multiplex_client(idle_timeout=None) as client:
            first = start(client, raw.url)
            peer = await raw.peer()
            await peer.answer((await peer.request())[0])
            await first
            for silence, asked in ((1000, 1), (1, 1), (1000, 2), (0, 2)):
                await advance(silence)
                task = start(client, raw.url)
                stream_id, _ = await peer.request()
                await peer.answer(stream_id)
                await peer.ping()
                assert len(pings_sent(peer)) == asked
                assert (await task).status_code == 200

    on_virtual_time(main)


def test_while_a_ping_is_overdue_new_requests_use_another_connection() -> None:
    async def main() -> None:
        async with RawServer.run() as raw, multiplex_client(max_connections=1) as client:
            first = start(client, raw.url, timeout=None)
            peer = await raw.peer()
            first_id, _ = await peer.request()
            await advance(15)
            ping = await peer.next(PingFrame)
            second = start(client, raw.url, timeout=None)  # in time, until it is not
            second_id, _ = await peer.request()
            await advance(2.5)
            third = start(client, raw.url, timeout=None)
            other = await raw.peer()
            stream_id, _ = await other.request()
            await other.answer(stream_id)
            assert (await third).status_code == 200
            await peer.send(answer_to(ping))
            await settle()
            fourth = start(client, raw.url, timeout=None)
            fourth_id, _ = await peer.request()
            for stream_id in (first_id, second_id, fourth_id):
                await peer.answer(stream_id)
            await asyncio.gather(first, second, fourth)

    on_virtual_time(main)


@pytest.mark.parametrize("cured", [True, False], ids=["cured", "off"])
async def test_after_a_read_timeout_in_silence_requests_use_another_connection(
    raw: RawServer, cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cured:
        monkeypatch.setattr(Keepalive, "doubt", lambda _keepalive: None)
    async with multiplex_client(ping_interval=None) as client:
        hasty = start(client, raw.url, timeout=httpx.Timeout(10, read=0.05))
        peer = await raw.peer()
        await peer.request()
        with pytest.raises(httpx.ReadTimeout):
            await hasty
        second = start(client, raw.url)
        other = await raw.peer() if cured else peer
        stream_id, _ = await other.request()
        await other.answer(stream_id)
        assert (await second).status_code == 200
        if not cured:
            return
        # Once it is heard of, it is as good as any.
        await peer.send(answer_to(await peer.next(PingFrame)))
        await peer.ping()
        third = start(client, raw.url)
        stream_id, _ = await peer.request()
        await peer.answer(stream_id)
        assert (await third).status_code == 200


async def test_after_a_write_timeout_in_silence_requests_use_another_connection(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    timeout = httpx.Timeout(10, write=0.05)
    stuck = start(client, raw.url, content=bytes(100_000), timeout=timeout)
    peer = await raw.peer({SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    await peer.request()
    with pytest.raises(httpx.WriteTimeout):
        await stuck
    second = start(client, raw.url)
    other = await raw.peer()
    stream_id, _ = await other.request()
    await other.answer(stream_id)
    assert (await second).status_code == 200


def test_a_read_timeout_of_one_stream_is_no_doubt_where_others_hear() -> None:
    async def main() -> None:
        async with RawServer.run() as raw, multiplex_client() as client:
            hasty = start(client, raw.url, timeout=httpx.Timeout(10, read=2))
            peer = await raw.peer()
            await peer.request()
            await advance(1)
            await peer.ping()
            await advance(1)
            with pytest.raises(httpx.ReadTimeout):
                await hasty
            second = start(client, raw.url)
            stream_id, _ = await peer.request()
            await peer.answer(stream_id)
            assert (await second).status_code == 200
            assert raw.waiting == 0
            assert not pings_sent(peer)

    on_virtual_time(main)


async def test_a_doubtful_connection_that_stays_silent_is_ended(raw: RawServer) -> None:
    async with multiplex_client(ping_interval=None, ping_timeout=0.1) as client:
        hasty = start(client, raw.url, timeout=httpx.Timeout(10, read=0.05))
        peer = await raw.peer()
        await peer.request()
        patient = start(client, raw.url, timeout=None)
        await peer.request()
        with pytest.raises(httpx.ReadTimeout):
            await hasty
        with pytest.raises(httpx.ReadError, match="PING"):
            await patient
        while await peer.any_frame():
            pass


async def test_a_process_that_stood_still_takes_nobody_for_gone(raw: RawServer) -> None:
    async with multiplex_client(ping_interval=0.05, ping_timeout=0.4) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        ping = await peer.next(PingFrame)
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()

        def stand_still() -> None:
            # The answer is there; nobody reads it until all of the PING's time is over.
            loop.remove_reader(near)
            peer.writer.write(answer_to(ping).serialize())
            time.sleep(0.5)

        with near, far:
            # Called by the loop as it reads: uvloop runs timers next, and then reads again.
            loop.add_reader(near, stand_still)
            far.send(b"now")
            ping = await peer.next(PingFrame)
        await peer.send(answer_to(ping))
        await peer.answer(stream_id)
        assert (await task).status_code == 200


@pytest.mark.parametrize("moves", [True, False])
def test_a_ping_behind_a_body_on_a_slow_link_has_time_while_the_body_moves(moves: bool) -> None:
    async def main() -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        async with multiplex_client() as client:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            task = start(client, url, content=bytes(16 * 2**20), timeout=None)
            taken, _ = await loop.sock_accept(listener)
            with taken, listener:
                windows = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 2**30})
                await loop.sock_sendall(taken, windows.serialize() + window(0, 2**30).serialize())
                assert (await loop.sock_recv(taken, len(PREFACE))) == PREFACE
                await advance(15)  # the PING is sent, behind a megabyte and what the kernel took
                for _ in range(20):
                    if moves:
                        await take(taken, 256 * 1024)
                    await advance(2.4)
                assert task.done() is not moves
                if moves:  # what no longer moves is given up
                    await advance(13)
                with pytest.raises(httpx.TransportError, match="PING"):
                    await task

    on_virtual_time(main)


async def take(taken: socket.socket, count: int) -> None:
    loop = asyncio.get_running_loop()
    while count > 0:
        received = await loop.sock_recv(taken, count)
        assert received
        count -= len(received)


async def test_one_connection_that_froze_costs_one_request(raw: RawServer) -> None:
    async with Proxy(address_of(raw.url)) as proxy, multiplex_client() as client:
        task = start(client, proxy.url)
        peer = await raw.peer()
        stream_id, _ = await peer.request()
        await peer.answer(stream_id)
        await task
        proxy.inject(FROZEN)
        with pytest.raises(httpx.ReadTimeout):
            await client.get(proxy.url, timeout=httpx.Timeout(10, read=0.1))
        for _ in range(5):
            task = start(client, proxy.url)
            if _ == 0:
                peer = await raw.peer()
            stream_id, _fields = await peer.request()
            await peer.answer(stream_id)
            assert (await task).status_code == 200
        assert proxy.connections == 2


async def test_a_copy_gets_over_connections_that_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides of a copy lose a connection in silence; only the clock is another one."""
    defaults = TransportSettings.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "ping_interval", 0.2)
    monkeypatch.setitem(defaults, "ping_timeout", 0.4)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"".join(b"%d\n" % number for number in range(20_000)))
    options = CopyOptions(batch_bytes=2048, in_flight=4, wait=1.0, lease=5.0, retry_for=60.0)
    server = await asyncio.to_thread(ServerProcess().start)
    try:
        async with Proxy(address_of(server.url)) as proxy:
            queue = QueueAddress(proxy.url, "frozen")
            proxy.inject(Fault(Kind.BLACK_HOLE, Way.TO_SERVER, after=10_000, seconds=math.inf))
            writer = Progress(), Summary("", "")
            await write_queue(PathAddress(source), queue, options, *writer)
            assert proxy.counts[Kind.BLACK_HOLE] == 1
            # One for the connection of the pulls, and one for that of all else.
            frozen = Fault(Kind.BLACK_HOLE, Way.TO_CLIENT, after=10_000, seconds=math.inf)
            proxy.inject(frozen, frozen)
            await read_queue(queue, PathAddress(target), options, Progress(), Summary("", ""))
            assert proxy.counts[Kind.BLACK_HOLE] >= 2
    finally:
        await asyncio.to_thread(server.stop)
    assert_identical(source, target)
