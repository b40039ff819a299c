"""Loads whose figure is what breaks: answers lost, handlers left over, seconds that all hangs.

Each drives a server, with a client that does nothing wrong, into what a cure is for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from h2.exceptions import ProtocolError
from hpack import Encoder
from hyperframe.frame import HeadersFrame, PingFrame, SettingsFrame

from benchmarks import process
from benchmarks.cures.apps import STEP_SECONDS
from benchmarks.cures.peer import Exchange, connected, until
from benchmarks.cures.speed import client_of

HELD = 3.0
"""Seconds after which what is held is let go in any case."""
SHORT = 0.4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
KIB = 1024


class FaultLoads:
    """What the driver is asked for; each gives one count or time."""

    async def after_many(self, port: int, beside: int, cap: int) -> int:
        """Count the held answers that are lost when a connection has served so many requests."""
        async with connected(port) as peer:
            for _ in range((cap - beside) // beside):
                await peer.lost([peer.open("/hello") for _ in range(beside)])
            held = [peer.open(f"/hold/{HELD}") for _ in range(beside)]
            try:
                while max(peer.exchanges) < 2 * cap + beside:
                    if not await peer.answered(peer.open("/hello")):
                        break
            except ProtocolError:  # the server has said GOAWAY
                pass
            await _release(port)
            return await peer.lost(held)

    async def early_answer(self, port: int, beside: int) -> int:
        """Count the answers lost beside one that came before its request was whole."""
        async with connected(port) as peer:
            held = [peer.open(f"/hold/{HELD}") for _ in range(beside)]
            refused = peer.open("/refuse", method="POST", end=False)
            await peer.answered(refused)
            await peer.send(refused, bytes(32 * KIB))
            await peer.ping()
            await _release(port)
            return await peer.lost(held)

    async def unread(self, port: int, requests: int) -> int:
        """Count the quick answers that do not come while a handler reads no body."""
        async with connected(port) as peer:
            idle = peer.open(f"/idle/{HELD}", method="POST", end=False)
            for _ in range(60):
                await peer.send(idle, bytes(KIB), end=False)
            return await peer.lost([peer.open("/hello") for _ in range(requests)], SHORT)

    async def many_open(self, port: int, streams: int) -> int:
        """Count the requests that are lost of very many that wait at once."""
        async with connected(port) as peer:
            held = [peer.open(f"/hold/{HELD}") for _ in range(streams)]
            await peer.ping()
            await _release(port)
            return await peer.lost(held)

    async def above_limit(self, port: int, limit: int) -> int:
        """Count the held answers that are lost to one request too many."""
        async with connected(port) as peer:
            peer.ignore_stream_limit(2 * limit)
            held = [peer.open(f"/hold/{HELD}") for _ in range(limit)]
            peer.open("/hello")
            await peer.ping()
            await _release(port)
            return await peer.lost(held)

    async def left_blocked(self, port: int, clients: int) -> int:
        """Count the handlers that go on for clients that left an answer half taken."""
        before = await count_of(port, "large-open")
        for _ in range(clients):
            async with connected(port) as peer:
                peer.acknowledges = False
                exchange = peer.exchanges[peer.open(f"/large/{1024 * KIB}")]

                async def taken(exchange: Exchange = exchange) -> bool:
                    return exchange.size >= 65_535

                await until(taken)
        await asyncio.sleep(SHORT)
        return await count_of(port, "large-open") - before

    async def idle_closed(self, port: int, clients: int) -> int:
        """Count the connections that end for idleness without a word."""
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(connected(port)) for _ in range(clients)]
            for peer in peers:
                await peer.answered(peer.open("/hello"))
            await asyncio.gather(*(peer.ended.wait() for peer in peers))
            return sum(not peer.goaway for peer in peers)

    async def header_lists(self, port: int, streams: int, fields: int, pid: int) -> float:
        """Give the MiB by which a server grows for requests with very many tiny fields."""
        async with connected(port) as warm:
            await warm.answered(warm.open("/hello"))
        before = _memory_kib(pid)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_PREFACE + SettingsFrame(0).serialize())
            head = {":method": "GET", ":path": "/wait", ":scheme": "http", ":authority": "a"}
            encoder = Encoder()
            many = [*head.items(), *[("a", "")] * fields]
            # From the second one on all fields are in the table: a byte for each.
            first, others = encoder.encode(many), encoder.encode(many)
            for number in range(1, 2 * streams, 2):
                block = first if number == 1 else others
                flags = ["END_HEADERS", "END_STREAM"]
                writer.write(HeadersFrame(number, block, flags=flags).serialize())
            writer.write(PingFrame(0, b"a cure's").serialize())
            received = b""
            while b"a cure's" not in received:
                received += await reader.read(2**16)
            return (_memory_kib(pid) - before) / KIB
        finally:
            writer.transport.abort()

    async def many_connections(self, port: int, count: int, pid: int) -> float:
        """Give the MiB by which a server grows for so many connections."""
        async with connected(port) as warm:
            await warm.answered(warm.open("/hello"))
        before = _memory_kib(pid)
        async with AsyncExitStack() as stack:
            for _ in range(count):
                try:
                    peer = await stack.enter_async_context(connected(port))
                except ConnectionError:
                    continue
                if not peer.ended.is_set():
                    peer.open("/wait")
            await asyncio.sleep(SHORT)
            return (_memory_kib(pid) - before) / KIB

    async def resets(self, port: int, requests: int) -> int:
        """Count the handlers that are started by requests that are reset at once."""
        before = await count_of(port, "wait")
        async with connected(port) as peer:
            try:
                for _ in range(requests):
                    peer.h2.reset_stream(peer.open("/wait"), 8)
                    if peer.ended.is_set():
                        break
                    await asyncio.sleep(0)
            except ProtocolError:
                pass
            await peer.ping()
        return await count_of(port, "wait") - before

    async def slow_readers(self, port: int, clients: int, seconds: float) -> int:
        """Count the answers that are cut off for clients that take their time."""
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(connected(port)) for _ in range(clients)]
            numbers = []
            for peer in peers:
                peer.acknowledges = False
                numbers.append(peer.open(f"/large/{512 * KIB}"))
            await asyncio.sleep(seconds)
            for peer, number in zip(peers, numbers, strict=True):
                peer.h2.increment_flow_control_window(2**20)
                if not peer.exchanges[number].over.is_set():
                    peer.h2.increment_flow_control_window(2**20, number)
                peer.flush()
            pairs = zip(peers, numbers, strict=True)
            return sum(await asyncio.gather(*(peer.lost([number]) for peer, number in pairs)))

    async def slow_bodies(self, port: int, clients: int, seconds: float) -> int:
        """Count the pushes that are refused because their bodies come slowly."""
        async with connected(port) as peer:
            numbers = [peer.open("/size", method="POST", end=False) for _ in range(clients)]
            for number in numbers:
                await peer.send(number, b"half", end=False)
            await asyncio.sleep(seconds)
            for number in numbers:
                await peer.send(number, b"half")
            await peer.lost(numbers)
            return sum(peer.exchanges[number].status != 200 for number in numbers)

    async def leaving(self, port: int, clients: int) -> int:
        """Count what is left half done for clients that leave once they have sent it all."""
        begun, done = await count_of(port, "begun"), await count_of(port, "done")

        async def all_begun() -> bool:
            return await count_of(port, "begun") - begun >= clients

        async def all_done() -> bool:
            return await count_of(port, "done") - done >= clients

        async with connected(port) as peer:
            numbers = [peer.open("/steps", method="POST", end=False) for _ in range(clients)]
            for number in numbers:
                await peer.send(number, b"work")
            await until(all_begun)
            for number in numbers:
                if not peer.exchanges[number].over.is_set():
                    peer.h2.reset_stream(number, 8)
            await peer.ping()
        await until(all_done, 2 * STEP_SECONDS)
        return clients - (await count_of(port, "done") - done)

    async def ending_beside(self, port: int, pid: int, most: float) -> float:
        """End a server beside a body that does not end; give the seconds, `most` at most."""
        async with connected(port) as peer:
            await peer.send(peer.open("/push/q", method="POST", end=False), b"half", end=False)
            await peer.ping()
            started = time.perf_counter()
            os.kill(pid, signal.SIGTERM)
            await until(partial(_ended, pid), most)
            return time.perf_counter() - started

    async def ending(self, port: int, pulls: int, pid: int) -> float:
        """End a server on which pulls wait, and give the seconds that it takes."""
        async with connected(port) as peer:
            await peer.answered(peer.open("/push/q", method="POST"))
            held = [peer.open(f"/pull/q?wait={HELD}", method="POST") for _ in range(pulls)]
            await peer.ping()
            started = time.perf_counter()
            os.kill(pid, signal.SIGTERM)
            await peer.lost(held, 2 * HELD)
        await until(partial(_ended, pid), 3 * HELD)
        return time.perf_counter() - started


async def _release(port: int) -> None:
    async with client_of(port) as http:
        await http.get("/release")


async def count_of(port: int, name: str) -> int:
    """Ask a server of `apps` how often something came to pass there."""
    async with client_of(port) as http:
        return int((await http.get(f"/count/{name}")).text)


def _memory_kib(pid: int) -> int:
    return process.memory_kib(pid, "VmRSS")


async def _ended(pid: int) -> bool:
    return not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        # A process that nobody has waited for yet is one of state Z.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
