"""A client on h2 that a cure's load drives step by step, also into what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

PATIENCE = 1.0
"""Seconds after which what does not come counts as lost."""


@dataclass(slots=True)
class Exchange:
    """What came of one request.

    Attributes:
        status: Of the answer; 0 before it, and when the stream was reset.
        size: Bytes of its body so far.
        complete: Whether its end came.
        reset: Whether the server reset it.
        over: Set once nothing more will come.
    """

    status: int = 0
    size: int = 0
    complete: bool = False
    reset: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Peer:
    """One connection by prior knowledge.

    Attributes:
        exchanges: By stream.
        goaway: Whether the server said GOAWAY.
        ended: Set once the connection is gone.
        acknowledges: Whether the window of what comes is given back.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wrap a connection; `connected` makes one."""
        self._reader, self._writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.exchanges: dict[int, Exchange] = {}
        self.goaway = False
        self.acknowledges = True
        self.ended = asyncio.Event()
        self._pong = asyncio.Event()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Send the preface and read from now on.

        Raises:
            ConnectionError: The server does not answer.
        """
        self.h2.initiate_connection()
        self.flush()
        self._reading = asyncio.create_task(self._read())
        if not await self.ping():
            await self.close()
            raise ConnectionError("the server does not answer")

    def flush(self) -> None:
        """Write what h2 has; to a connection that has gone, nothing."""
        waiting = self.h2.data_to_send()
        if not self._writer.is_closing():
            self._writer.write(waiting)

    def ignore_stream_limit(self, streams: int) -> None:
        """Take so many streams for allowed, whatever the server said."""
        self.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = streams
        self.h2.remote_settings.acknowledge()

    def stop_reading(self) -> None:
        """Take in nothing more, and so answer nothing."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def open(self, path: str, *, method: str = "GET", end: bool = True, below: int = 0) -> int:
        """Open a stream for a request and give its number.

        Args:
            path: What is asked for.
            method: The request's.
            end: Whether it has no body.
            below: A stream that is to have all there is to send before this one has any.
        """
        number = self.h2.get_next_available_stream_id()
        head = {":method": method, ":path": path, ":scheme": "http", ":authority": "a"}
        rank: dict[str, Any] = {}
        if below:
            rank = {"priority_depends_on": below, "priority_exclusive": True}
        self.h2.send_headers(number, list(head.items()), end_stream=end, **rank)
        self.exchanges[number] = Exchange()
        self.flush()
        return number

    async def send(self, number: int, body: bytes, *, end: bool = True) -> bool:
        """Send a body within the windows; false when it does not get on."""
        sent = 0
        while sent < len(body):
            try:
                window = self.h2.local_flow_control_window(number)
                most = min(window, self.h2.max_outbound_frame_size)
                if most > 0:
                    piece = body[sent : sent + most]
                    sent += len(piece)
                    self.h2.send_data(number, piece, end_stream=end and sent == len(body))
                    self.flush()
                    continue
            except ProtocolError:
                return False
            self._changed.clear()
            if not await came(self._changed):
                return False
        return True

    async def ping(self) -> bool:
        """Ask for a sign of life; false when none comes."""
        self._pong.clear()
        if self.ended.is_set():
            return False
        try:
            self.h2.ping(b"a cure's")
        except ProtocolError:
            return False
        self.flush()
        return await came(self._pong) and not self.ended.is_set()

    async def answered(self, number: int, patience: float = PATIENCE) -> bool:
        """Wait for an answer; false when it does not come whole."""
        exchange = self.exchanges[number]
        await came(exchange.over, patience)
        return exchange.complete

    async def lost(self, numbers: list[int], patience: float = PATIENCE) -> int:
        """Count the answers that do not come."""
        whole = await asyncio.gather(*(self.answered(number, patience) for number in numbers))
        return len(numbers) - sum(whole)

    async def close(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()
        await self.ended.wait()
        self._reading.cancel()

    async def _read(self) -> None:
        try:
            while received := await self._reader.read(2**18):
                for event in self.h2.receive_data(received):
                    self._take(event)
                self.flush()
        except (ConnectionError, ProtocolError):
            pass
        finally:
            self.ended.set()
            self._pong.set()
            for exchange in self.exchanges.values():
                exchange.over.set()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.PingAckReceived):
            self._pong.set()
        elif isinstance(event, h2.events.WindowUpdated):
            self._changed.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = True
        exchange = self.exchanges.get(getattr(event, "stream_id", 0) or 0)
        if exchange is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            exchange.status = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            exchange.size += len(event.data)
            if self.acknowledges:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            exchange.complete = True
            exchange.over.set()
        elif isinstance(event, h2.events.StreamReset):
            exchange.reset = True
            exchange.over.set()


async def came(event: asyncio.Event, patience: float = PATIENCE) -> bool:
    """Wait for an event, as long as there is patience."""
    try:
        async with asyncio.timeout(patience):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def until(holds: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> bool:
    """Ask again and again, for there is no event to wait for in another process.

    Returns:
        Whether it came to hold in time.
    """
    try:
        async with asyncio.timeout(patience):
            while not await holds():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    except TimeoutError:
        return False
    return True


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    """Open a connection for the length of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer = Peer(reader, writer)
    await peer.start()
    try:
        yield peer
    finally:
        await peer.close()
