"""Loads on the client's cures: the same requests over stock httpx and over our transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, SettingsFrame

from batchq_client.transport.keepalive import Keepalive
from benchmarks.cures.link import link
from benchmarks.cures.peer import until
from benchmarks.cures.speed import MIB, client_of

POLL = 1.0
"""Seconds that a request is held which the measured one should not have to wait for."""
SHORT = 0.2
OWN = 2.0
"""Seconds that a request on a connection that froze would wait by itself."""


class ClientLoads:
    """What the driver is asked for; `stock` chooses httpx's own transport."""

    async def beside_polls(self, port: int, polls: int, *, stock: bool) -> float:
        """Give the seconds of a quick request beside open ones of the same connection."""
        async with client_of(port, stock=stock) as http:
            await http.get("/hello")
            held = [asyncio.create_task(http.get(f"/hold/{POLL}")) for _ in range(polls)]
            await asyncio.sleep(SHORT)
            started = time.perf_counter()
            await http.get("/hello")
            seconds = time.perf_counter() - started
            await asyncio.gather(*held)
            return seconds

    async def cancelled_pulls(self, port: int, pulls: int, *, stock: bool) -> int:
        """Count the batches that go to nobody after as many pulls were cancelled."""
        async with client_of(port) as aside, client_of(port, stock=stock) as http:
            await aside.post("/push/q", content=b"")
            waiting = [asyncio.create_task(http.post("/pull/q?wait=5&max=1")) for _ in range(pulls)]

            async def all_wait() -> bool:
                told = (await aside.get("/queues/q")).json()
                return bool(told["waiting_pulls"] >= pulls)

            await until(all_wait)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.sleep(SHORT)
            for _ in range(pulls):
                await aside.post("/push/q", content=b"line\n")
            kept: int = (await aside.get("/queues/q")).json()["ready_lines"]
            await aside.delete("/queues/q")
            return pulls - kept

    async def abandoned(self, port: int, answers: int, *, stock: bool) -> float:
        """Give the seconds of a request after answers of 1 MiB were left; at most 2."""
        async with client_of(port, stock=stock) as http:
            try:
                async with asyncio.timeout(4):
                    for _ in range(answers):
                        async with http.stream("GET", f"/large/{MIB}"):
                            pass
            except TimeoutError:
                return 4.0
            started = time.perf_counter()
            try:
                async with asyncio.timeout(2):
                    await http.get(f"/large/{MIB}")
            except TimeoutError:
                pass
            return time.perf_counter() - started

    async def upload_beside_poll(self, port: int, *, stock: bool) -> float:
        """Give the seconds of an upload of 1 MiB beside an open request."""
        async with client_of(port, stock=stock) as http:
            await http.get("/hello")
            held = asyncio.create_task(http.get(f"/hold/{POLL}"))
            await asyncio.sleep(SHORT)
            started = time.perf_counter()
            (await http.post("/size", content=bytes(MIB))).raise_for_status()
            seconds = time.perf_counter() - started
            await held
            return seconds

    async def one_times_out(self, port: int, beside: int, *, stock: bool) -> int:
        """Count the requests that fail together with one that ran out of time."""
        async with client_of(port, stock=stock) as http:
            await http.get("/hello")
            hasty = asyncio.create_task(
                http.get(f"/hold/{POLL}", timeout=httpx.Timeout(10, read=SHORT))
            )
            held = [asyncio.create_task(http.get(f"/hold/{2 * SHORT}")) for _ in range(beside)]
            outcomes = await asyncio.gather(hasty, *held, return_exceptions=True)
            return sum(isinstance(outcome, Exception) for outcome in outcomes[1:])

    async def above_limit(self, port: int, limit: int, *, stock: bool) -> float:
        """Give the seconds of a request while as many are open as a connection may have."""
        async with client_of(port, stock=stock) as http:
            await http.get("/hello")
            held = [asyncio.create_task(http.get(f"/hold/{POLL}")) for _ in range(limit)]
            await asyncio.sleep(SHORT)
            started = time.perf_counter()
            await http.get("/hello")
            seconds = time.perf_counter() - started
            await asyncio.gather(*held)
            return seconds

    async def going_away(self, requests: int, *, stock: bool) -> int:
        """Count the requests that fail when the server leaves and answers half of them."""
        async with _leaving_server(requests) as port, client_of(port, stock=stock) as http:
            asked = [asyncio.create_task(http.get(f"/{number}")) for number in range(requests)]
            await asyncio.wait(asked, timeout=2)
            failed = sum(not task.done() or task.exception() is not None for task in asked)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            return failed

    async def download_cpu(self, port: int, mib: int, *, texts: bool) -> float:
        """Get answers of 1 MiB with stock httpx and give this process's ms for a MiB.

        Args:
            port: The server's.
            mib: How many.
            texts: Whether frames have the text that h2 has made of each.
        """
        with _frame_texts(texts):
            async with client_of(port, stock=True) as http:
                await http.get("/hello")
                before = time.process_time()
                for _ in range(mib):
                    (await http.get(f"/large/{MIB}")).raise_for_status()
                return (time.process_time() - before) * 1e3 / mib

    async def frozen(self, port: int, requests: int, *, asks: bool) -> float:
        """Give the seconds until requests on a connection that froze have failed."""
        pings: dict[str, Any] = {"ping_interval": SHORT if asks else None, "ping_timeout": SHORT}
        async with link(port) as way, client_of(way.port, **pings) as http:
            await http.get("/hello")
            way.freeze()
            started = time.perf_counter()
            asked = (http.get("/hello", timeout=OWN) for _ in range(requests))
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            if not all(isinstance(outcome, httpx.TransportError) for outcome in outcomes):
                raise RuntimeError("a frozen connection has answered")
            return time.perf_counter() - started

    async def after_frozen(self, port: int, requests: int, *, doubts: bool) -> int:
        """Count the requests that fail one after the other once a connection froze."""
        failed = 0
        with _doubts(doubts):
            async with link(port) as way, client_of(way.port) as http:
                await http.get("/hello")
                way.freeze()
                for _ in range(requests):
                    try:
                        await http.get("/hello", timeout=SHORT)
                    except httpx.TransportError:
                        failed += 1
        return failed

    async def stale(self, port: int, clients: int, seconds: float, *, stock: bool) -> int:
        """Count the clients whose second request fails, as the server has closed meanwhile."""

        async def twice() -> None:
            async with client_of(port, stock=stock) as http:
                await http.get("/hello")
                await asyncio.sleep(seconds)
                await http.get("/hello")

        outcomes = await asyncio.gather(*(twice() for _ in range(clients)), return_exceptions=True)
        return sum(isinstance(outcome, Exception) for outcome in outcomes)


@contextmanager
def _frame_texts(on: bool) -> Iterator[None]:
    replaced: Any = Frame
    kept = replaced.__repr__
    if not on:
        replaced.__repr__ = lambda frame: f"<{type(frame).__name__}>"
    try:
        yield
    finally:
        replaced.__repr__ = kept


@contextmanager
def _doubts(on: bool) -> Iterator[None]:
    """Have a connection doubted after a request in whose time nothing came, or not."""
    replaced: Any = Keepalive
    kept = replaced.doubt
    if not on:
        replaced.doubt = lambda _keepalive: None
    try:
        yield
    finally:
        replaced.doubt = kept


@asynccontextmanager
async def _leaving_server(requests: int) -> AsyncIterator[int]:
    """Serve frame by frame: the first connection says GOAWAY, and answers what it still owes."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        leaves = connections == 1
        encoder, decoder = Encoder(), Decoder()
        given = {SettingsFrame.MAX_CONCURRENT_STREAMS: 100}
        writer.write(SettingsFrame(0, settings=given).serialize())
        opened: list[int] = []
        await reader.readexactly(24)
        while True:
            frame, length = Frame.parse_frame_header(memoryview(await reader.readexactly(9)))
            frame.parse_body(memoryview(await reader.readexactly(length)))
            if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                writer.write(SettingsFrame(0, flags=["ACK"]).serialize())
            if not isinstance(frame, HeadersFrame):
                continue
            decoder.decode(frame.data)
            opened.append(frame.stream_id)
            if leaves and len(opened) < requests:
                continue
            owed = opened[: requests // 2] if leaves else opened
            if leaves:
                writer.write(GoAwayFrame(0, last_stream_id=owed[-1]).serialize())
            for stream_id in owed:
                block = encoder.encode([(":status", "200")])
                head = HeadersFrame(stream_id, block, flags=["END_HEADERS"])
                writer.write(head.serialize())
                writer.write(DataFrame(stream_id, b"ok", flags=["END_STREAM"]).serialize())
            opened.clear()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
