"""Loads whose figure is a speed or a time: bodies up and down, alone or over a slow link."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from priority.priority import PriorityTree

from batchq.http2 import Http2Settings
from batchq.http2.sender import SendBuffer, Sender
from batchq.lines import count
from batchq_client.transport import MultiplexTransport, TransportSettings
from batchq_client.transport.stream import Stream
from benchmarks import loads
from benchmarks.cures.link import link
from benchmarks.cures.peer import connected

MIB = 1024 * 1024
TIMEOUT = httpx.Timeout(20)
STUCK_TURNS = 200


def client_of(port: int, *, stock: bool = False, **settings: Any) -> httpx.AsyncClient:
    """Make an httpx client of a server on loopback: over our transport, or the stock one."""
    transport: httpx.AsyncBaseTransport
    if stock:
        transport = httpx.AsyncHTTPTransport(http1=False, http2=True)
    else:
        transport = MultiplexTransport(settings=TransportSettings(**settings))
    base = f"http://127.0.0.1:{port}"
    return httpx.AsyncClient(transport=transport, base_url=base, timeout=TIMEOUT)


class SpeedLoads:
    """What the driver is asked for; each gives one figure."""

    async def upload(
        self,
        port: int,
        mib: int,
        *,
        body_kib: int = 1024,
        in_flight: int = 4,
        delay: float = 0.0,
        copying: bool = False,
    ) -> float:
        """Push so many MiB and give MB/s.

        Args:
            port: The server's.
            mib: How much in all.
            body_kib: Of each body.
            in_flight: How many bodies at once.
            delay: Seconds that the link takes each way.
            copying: Whether what is left of a body is copied for each of its frames.
        """
        body = next(iter(loads.pool("short", min(body_kib, 1024) * 1024))).payload
        body *= max(1, body_kib // 1024)
        left = [mib * 1024 // body_kib]
        async with _framing(copying), _reached(port, delay) as reached, client_of(reached) as http:
            await http.get("/hello")

            async def push() -> None:
                while left[0] > 0:
                    left[0] -= 1
                    (await http.post("/size", content=body)).raise_for_status()

            started = time.perf_counter()
            await asyncio.gather(*(push() for _ in range(in_flight)))
            return mib * MIB / (time.perf_counter() - started) / 1e6

    async def through(self, port: int, mib: int) -> float:
        """Push batches of 1 MiB through a queue whose readers keep up, and give MB/s."""
        body = next(iter(loads.pool("short", MIB))).payload
        left = [mib]
        async with client_of(port) as http:

            async def move(queue: str) -> None:
                while left[0] > 0:
                    left[0] -= 1
                    (await http.post(f"/push/{queue}", content=body)).raise_for_status()
                    (await http.post(f"/pull/{queue}?wait=0")).raise_for_status()
                await http.delete(f"/queues/{queue}")

            await http.get("/healthz")
            started = time.perf_counter()
            await asyncio.gather(*(move(f"q{number}") for number in range(4)))
            return mib * MIB / (time.perf_counter() - started) / 1e6

    async def download(self, port: int, mib: int, max_frame_size: int = MIB) -> float:
        """Get so many answers of 1 MiB, four at once, and give MB/s."""
        left = [mib]
        async with client_of(port, max_frame_size=max_frame_size) as http:
            await http.get("/hello")

            async def pull() -> None:
                while left[0] > 0:
                    left[0] -= 1
                    (await http.get(f"/large/{MIB}")).raise_for_status()

            started = time.perf_counter()
            await asyncio.gather(*(pull() for _ in range(4)))
            return mib * MIB / (time.perf_counter() - started) / 1e6

    async def unannounced(self, port: int, mib: int) -> float:
        """Push one body whose length is not told, and give the seconds."""
        piece = bytes(MIB)

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(mib):
                yield piece

        async with client_of(port) as http:
            await http.get("/hello")
            started = time.perf_counter()
            (await http.post("/size", content=pieces())).raise_for_status()
            return time.perf_counter() - started

    async def quick_beside(self, port: int, polls: int, times: int) -> float:
        """Give the milliseconds of a quick request beside open ones."""
        async with connected(port) as peer:
            for _ in range(polls):
                peer.open("/wait")
            await peer.ping()
            started = time.perf_counter()
            for _ in range(times):
                if not await peer.answered(peer.open("/hello")):
                    raise RuntimeError("a quick request was lost")
            return (time.perf_counter() - started) / times * 1e3

    async def expecting(self, port: int) -> float:
        """Push a line with curl that asks whether it may, and give the seconds."""
        curl = shutil.which("curl")
        if curl is None:
            raise RuntimeError("curl not found: apt-get install curl")
        url = f"http://127.0.0.1:{port}/size"
        command = ("-sS", "--http2-prior-knowledge", "-H", "Expect: 100-continue", "-d", "a", url)
        started = time.perf_counter()
        running = await asyncio.create_subprocess_exec(
            curl, *command, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await running.communicate()
        if told != b"1":
            raise RuntimeError(f"curl got {told!r}")
        return time.perf_counter() - started

    def turn(self, stuck: int, *, tree: bool) -> float:
        """Give the microseconds of one turn to send beside streams that wait for the client."""
        step = _tree_turn(stuck) if tree else _queue_turn(stuck)
        step()
        started = time.perf_counter()
        for _ in range(STUCK_TURNS):
            step()
        return (time.perf_counter() - started) / STUCK_TURNS * 1e6

    def counting(self, *, numpy: bool) -> float:
        """Count the lines of 1 MiB and give GB/s."""
        block = next(iter(loads.pool("short", MIB))).payload
        times = 200 if numpy else 50
        started = time.perf_counter()
        for _ in range(times):
            if numpy:
                count(block)
            else:
                block.count(b"\n")
        return times * len(block) / (time.perf_counter() - started) / 1e9


@asynccontextmanager
async def _framing(copying: bool) -> AsyncIterator[None]:
    """Have bodies framed from where they lie, or by copying what is left of them."""
    replaced: Any = Stream
    kept = replaced.send_bytes

    def send_bytes(stream: Any, body: bytes) -> None:
        stream.outgoing = body
        stream.last_piece = True
        stream._owner.sending_wanted(stream)  # noqa: SLF001 - there is no other seam

    if copying:
        replaced.send_bytes = send_bytes
    try:
        yield
    finally:
        replaced.send_bytes = kept


def _tree_turn(stuck: int) -> Callable[[], None]:
    tree = PriorityTree()
    for number in range(1, 2 * stuck + 2, 2):
        tree.insert_stream(number)
        tree.block(number)
    tree.unblock(2 * stuck + 1)

    def step() -> None:
        next(tree)

    return step


class _Nowhere:
    """A transport that takes everything."""

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Take no notice."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def write(self, data: bytes) -> None:
        """Drop it."""

    def writelines(self, pieces: list[bytes]) -> None:
        """Drop them."""


def _queue_turn(stuck: int) -> Callable[[], None]:
    sender = Sender(Http2Settings(), asyncio.get_running_loop(), lambda: None)
    nowhere: Any = _Nowhere()
    sender.attach(nowhere)
    sender.window = 2**30
    block = memoryview(bytes(16_384))
    for number in range(1, 2 * stuck, 2):
        sender.push(SendBuffer(number, 0, lambda: None), block, end=False)
    free = SendBuffer(2 * stuck + 1, 2**30, lambda: None)

    def step() -> None:
        sender.push(free, block, end=False)
        sender.flush()

    return step


@asynccontextmanager
async def _reached(port: int, delay: float) -> AsyncIterator[int]:
    """Give the port itself, or one that leads to it over a link that takes `delay` seconds."""
    if not delay:
        yield port
        return
    async with link(port, delay) as slow:
        yield slow.port
