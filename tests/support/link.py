"""One connection through the proxy: two flows, and the faults that strike them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from support.faults import AnswerWatch, Fault, Kind, Way

_CHUNK: Final = 64 * 1024
_TICK: Final = 0.005
"""Seconds between the pieces of a throttled way."""

_CONNECT_SECONDS: Final = 10.0
_RESET: Final = struct.pack("ii", 1, 0)

Address = tuple[str, int]


class Owner(Protocol):
    """The proxy, as a connection sees it."""

    target: Address
    latency: float

    def take(self) -> Fault | None:
        """Gives the next injected fault to the connection that asks."""

    def give_back(self, fault: Fault) -> None:
        """Takes an injected fault back: its connection ended before it struck."""

    def strike(self, connection: int, fault: Fault) -> None:
        """Notes a fault that struck."""


class Flow:
    """One way of a connection: what has gone, and what is to strike it."""

    def __init__(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        self.way = way
        self.source = source
        self.sink = sink
        self.gone = 0
        self.swallows = False
        self._rate = 0
        self._slow_until = 0.0
        self._faults: list[tuple[int, Fault]] = []

    def add(self, fault: Fault) -> None:
        """Adds a fault, counted from now."""
        self._faults.append((self.gone + fault.after, fault))
        self._faults.sort(key=lambda entry: entry[0])

    def due(self) -> Fault | None:
        """Takes the next fault whose byte is reached."""
        if self._faults and self._faults[0][0] <= self.gone:
            return self._faults.pop(0)[1]
        return None

    def unharmed(self, size: int) -> int:
        """How many of so many bytes come before the next fault."""
        return min(size, self._faults[0][0] - self.gone) if self._faults else size

    def slow_down(self, fault: Fault) -> None:
        """Throttles from now on."""
        self._rate = fault.rate
        self._slow_until = asyncio.get_running_loop().time() + fault.seconds

    async def send(self, data: bytes) -> None:
        """Hands bytes to the receiver's kernel, or to nobody."""
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        while view:
            piece = view
            if loop.time() < self._slow_until:
                piece = view[: max(1, int(self._rate * _TICK))]
                await asyncio.sleep(_TICK)
            if not self.swallows:
                await loop.sock_sendall(self.sink, piece)
            self.gone += len(piece)
            view = view[len(piece) :]

    def finish(self) -> None:
        """Tells the receiver the end."""
        with contextlib.suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)


class Link:
    """One connection: the client's and its twin to the server."""

    def __init__(
        self, proxy: Owner, client: socket.socket, number: int, fault: Fault | None
    ) -> None:
        self._proxy = proxy
        self._number = number
        self._client = client
        self._server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._server.setblocking(False)
        for side in (client, self._server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._up = Flow(Way.TO_SERVER, client, self._server)
        self._down = Flow(Way.TO_CLIENT, self._server, client)
        self._over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._preface = b""
        self._watch: AnswerWatch | None = None
        self._drops: list[tuple[int, Fault]] = []
        self._dropping: Fault | None = None
        self._injected: list[Fault] = []
        if fault is not None:
            self._add(fault)

    def end(self, *, reset: bool) -> None:
        """Loses the connection on both sides, by RST or by FIN."""
        if not self._over.done():
            self._over.set_result(reset)

    async def run(self) -> None:
        """Serves the connection to its end."""
        reset = True
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(self._server, self._proxy.target)
            reset = await self._pass_on()
        except OSError:
            pass
        finally:
            for side in (self._client, self._server):
                if reset:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.close()
            for fault in self._injected:
                self._proxy.give_back(fault)

    async def _pass_on(self) -> bool:
        """Passes both ways on to the end; tells whether it is to be a reset."""
        pumps = [asyncio.create_task(self._pump(flow)) for flow in (self._up, self._down)]
        try:
            waiting: set[asyncio.Future[Any]] = {self._over, *pumps}
            while not self._over.done() and len(waiting) > 1:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(pump in done and pump.exception() is not None for pump in pumps):
                    self.end(reset=True)
            return self._over.done() and self._over.result()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, flow: Flow) -> None:
        """Passes one way on, and its end."""
        loop = asyncio.get_running_loop()
        await self._strike(flow)
        try:
            async for data in _later(loop, flow.source, self._proxy.latency):
                if flow is self._up:
                    await self._client_sends(data)
                await self._harm(flow, data)
        except OSError:
            if not flow.swallows:
                raise
        if not flow.swallows:
            flow.finish()

    async def _client_sends(self, data: bytes) -> None:
        self._preface = self._preface or data
        fault = self._proxy.take()
        if fault is not None:
            self._injected.append(fault)
            self._add(fault)
            await self._strike(self._up)
            await self._strike(self._down)

    async def _harm(self, flow: Flow, data: bytes) -> None:
        """Passes bytes on as the faults on this way let them."""
        while data and not self._over.done():
            size = flow.unharmed(len(data))
            piece, data = data[:size], data[size:]
            if flow is self._down:
                await self._answer(piece)
            else:
                await flow.send(piece)
            await self._strike(flow)

    async def _answer(self, data: bytes) -> None:
        """Passes on what the server sends, but for the answer that is to be dropped."""
        if self._watch is None:
            self._watch = AnswerWatch(self._preface)
        if self._dropping is not None:
            self._swallow(self._watch, data, self._dropping)
        elif self._drops and not self._down.swallows:
            at, fault = self._drops[0]
            begin = self._watch.begins(data, at - self._down.gone)
            await self._down.send(data if begin is None else data[:begin])
            if begin is not None:
                self._dropping = fault
                self._down.swallows = True
                self._noted(fault)
                self._end_after(fault)
                self._swallow(self._watch, data[begin:], fault)
        else:
            self._watch.begins(data, len(data) + 1)
            await self._down.send(data)

    def _swallow(self, watch: AnswerWatch, data: bytes, fault: Fault) -> None:
        self._down.gone += len(data)
        if watch.ends(data):
            self.end(reset=fault.reset)

    def _add(self, fault: Fault) -> None:
        if fault.kind is Kind.DROP_ANSWER:
            self._drops.append((self._down.gone + fault.after, fault))
            self._drops.sort(key=lambda entry: entry[0])
        else:
            (self._up if fault.way is Way.TO_SERVER else self._down).add(fault)

    async def _strike(self, flow: Flow) -> None:
        """Lets the faults strike whose byte is reached."""
        while not self._over.done() and (fault := flow.due()) is not None:
            self._noted(fault)
            match fault.kind:
                case Kind.DELAY:
                    await asyncio.sleep(fault.seconds)
                case Kind.THROTTLE:
                    flow.slow_down(fault)
                case Kind.HALF_CLOSE:
                    flow.swallows = True
                    flow.finish()
                    self._end_after(fault)
                case Kind.BLACK_HOLE:
                    self._up.swallows = self._down.swallows = True
                    self._end_after(fault)
                case _:
                    self.end(reset=fault.reset)

    def _noted(self, fault: Fault) -> None:
        if fault in self._injected:
            self._injected.remove(fault)
        self._proxy.strike(self._number, fault)

    def _end_after(self, fault: Fault) -> None:
        if fault.seconds < math.inf:
            asyncio.get_running_loop().call_later(
                fault.seconds, lambda: self.end(reset=fault.reset)
            )


async def _later(
    loop: asyncio.AbstractEventLoop, source: socket.socket, latency: float
) -> AsyncIterator[bytes]:
    """Gives what comes, to its end, each piece ``latency`` seconds after it came."""
    if not latency:
        while data := await loop.sock_recv(source, _CHUNK):
            yield data
        return
    coming: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue()

    async def take() -> None:
        try:
            while data := await loop.sock_recv(source, _CHUNK):
                coming.put_nowait((loop.time() + latency, data))
            coming.put_nowait((loop.time() + latency, b""))
        except OSError as error:
            coming.put_nowait((loop.time(), error))

    taking = asyncio.create_task(take())
    try:
        while True:
            due, came = await coming.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if isinstance(came, OSError):
                raise came
            if not came:
                return
            yield came
    finally:
        taking.cancel()
