"""Loads on what guards the server: bodies that nobody takes, clients that are not there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from benchmarks import process
from benchmarks.cures.faults import SHORT, count_of
from benchmarks.cures.peer import Peer, connected, until
from benchmarks.cures.speed import MIB, client_of

KIB = 1024
_HTTP1 = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
_AT_ONCE = 50


class GuardLoads:
    """What the driver is asked for; each gives one count or size."""

    async def after_refused(self, port: int, bodies: int, uploads: int) -> int:
        """Count the uploads that hang once bodies of 1 MiB came after they were refused."""
        async with connected(port) as peer:
            for _ in range(bodies):
                refused = peer.open("/refuse", method="POST", end=False)
                await peer.answered(refused)
                await peer.send(refused, bytes(MIB))
            numbers = [peer.open("/size", method="POST", end=False) for _ in range(uploads)]
            await asyncio.gather(*(peer.send(number, bytes(KIB)) for number in numbers))
            return await peer.lost(numbers)

    async def above_length(self, port: int, limit: int, beside: int) -> int:
        """Count the answers lost beside a body of four times what is allowed."""
        async with connected(port) as peer:
            await peer.answered(peer.open("/hello"))
            await _above(peer, limit)
            return await peer.lost([peer.open("/hello") for _ in range(beside)])

    async def taken_above(self, port: int, limit: int) -> float:
        """Give the MiB that are taken of a body of four times what is allowed."""
        async with connected(port) as peer:
            return await _above(peer, limit) / MIB

    async def ranked_below(self, port: int, mib: int) -> float:
        """Give the MiB of an answer that come before a small one which the client ranked below."""
        async with connected(port) as peer:
            peer.acknowledges = False
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2 * mib * MIB})
            large = peer.open(f"/large/{mib * MIB}")
            small = peer.open(f"/large/{KIB}", below=large)
            # Both stand in the queue before there is a window for them.
            await peer.ping()
            peer.h2.increment_flow_control_window(2 * mib * MIB)
            peer.flush()
            if not await peer.answered(small):
                raise RuntimeError("the small answer was lost")
            return peer.exchanges[large].size / MIB

    async def unwanted(self, port: int, mib: int) -> None:
        """Send a body with a request that takes none."""
        async with client_of(port) as http:
            await http.request("DELETE", "/queues/q", content=bytes(mib * MIB))

    async def gone_over_http1(self, port: int, clients: int, pid: int) -> float:
        """Give the MiB by which a server grows for HTTP/1.1 clients that came and went."""

        async def come_and_go() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_HTTP1)
            await reader.readuntil(b"hello")
            writer.transport.abort()

        await asyncio.gather(*(come_and_go() for _ in range(_AT_ONCE)))
        before = process.memory_kib(pid, "VmRSS")
        for _ in range(clients // _AT_ONCE):
            await asyncio.gather(*(come_and_go() for _ in range(_AT_ONCE)))
        await asyncio.sleep(SHORT)
        return (process.memory_kib(pid, "VmRSS") - before) / KIB

    async def incomplete(self, port: int, bodies: int, mib: int, pid: int) -> float:
        """Give the MiB by which a server grows for bodies that lack their last byte."""
        async with connected(port) as peer:
            await peer.answered(peer.open("/hello"))
            before = process.memory_kib(pid, "VmRSS")
            numbers = [peer.open("/size", method="POST", end=False) for _ in range(bodies)]
            most = bytes(mib * MIB - 1)
            await asyncio.gather(*(peer.send(number, most, end=False) for number in numbers))
            await peer.ping()
            return (process.memory_kib(pid, "VmRSS") - before) / KIB

    async def silent(self, port: int, clients: int, seconds: float, *, sends: bool) -> int:
        """Count the requests that are kept so long for clients that say nothing any more.

        Args:
            port: The server's.
            clients: How many.
            seconds: After which what is kept is counted.
            sends: Whether they stop within a body, and not while they wait for an answer.
        """
        kind = "size" if sends else "wait"
        before = await count_of(port, f"{kind}-open")

        async def all_gone() -> bool:
            return await count_of(port, f"{kind}-open") <= before

        async with AsyncExitStack() as stack:
            for _ in range(clients):
                peer = await stack.enter_async_context(connected(port))
                number = peer.open(f"/{kind}", method="POST", end=not sends)
                if sends:
                    await peer.send(number, b"half", end=False)
                await peer.ping()
                if not sends:
                    peer.stop_reading()
            await until(all_gone, seconds)
            return await count_of(port, f"{kind}-open") - before

    async def refusals(self, port: int, requests: int) -> int:
        """Count the requests above the limit that are refused one by one."""
        async with connected(port) as peer:
            peer.ignore_stream_limit(requests + 1)
            peer.open("/wait")
            numbers = []
            try:
                for _ in range(requests):
                    numbers.append(peer.open("/wait"))
                    if peer.ended.is_set():
                        break
                    await asyncio.sleep(0)
            except ProtocolError:
                pass
            await peer.ping()
            return sum(peer.exchanges[number].reset for number in numbers)


async def _above(peer: Peer, limit: int) -> int:
    """Send a body of no told length up to four times `limit`; give what the answer let pass.

    One piece follows the answer, as a client sends that has not read it yet.
    """
    number = peer.open("/push/q", method="POST", end=False)
    piece, sent = bytes(limit // 16), 0
    while sent < 4 * limit and not peer.exchanges[number].status:
        await peer.send(number, piece, end=False)
        sent += len(piece)
        await peer.ping()
    await peer.send(number, piece)
    await peer.ping()
    return sent
