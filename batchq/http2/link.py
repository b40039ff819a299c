"""The socket's side of one connection: an asyncio protocol that fills one shared buffer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from batchq.http2.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable


class ReadBuffer:
    """What sockets are read into: one for all connections of an event loop.

    A connection uses up what it read before it returns to the loop, and keeps the
    beginning of a frame that is left over for itself.

    Args:
        size: bytes read at once.
    """

    __slots__ = ("view",)

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size))


class Link(asyncio.BufferedProtocol):
    """Reads for a connection, and tells it when the transport is full or gone.

    Args:
        connection: what it reads for.
        buffer: what it reads into.
        lost: called once, when the transport is gone, with what it was lost to.
    """

    def __init__(
        self,
        connection: Connection,
        buffer: ReadBuffer,
        lost: Callable[[Exception | None], None],
    ) -> None:
        self._connection = connection
        self._view = buffer.view
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read from a transport from now on."""
        # uvloop's transports have the same methods and another base class.
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go."""
        tail = self._tail
        if not tail:
            return self._view
        self._view[: len(tail)] = tail
        return self._view[len(tail) :]

    def buffer_updated(self, nbytes: int) -> None:
        """Act on what came."""
        end, bodies = len(self._tail) + nbytes, self._connection.bodies
        used = self._connection.receive(self._view, end)
        self._tail = bytes(self._view[used:end]) if used < end else b""
        if end == len(self._view) and self._connection.bodies > bodies:
            self._give_way()

    def _give_way(self) -> None:
        """Let a request that has come whole be begun before more is read.

        While reads fill the buffer, libuv reads on, up to 32 times (``uv__read``), before
        anything else runs: requests that came together would all wait for the last of them.
        """
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def feed(self, data: bytes) -> None:
        """Act on bytes that something else has read."""
        data = self._tail + data
        used = self._connection.receive(memoryview(data), len(data))
        self._tail = data[used:]

    def eof_received(self) -> bool:
        """The client has closed: nobody is left to answer."""
        self._connection.lost()
        return False

    def pause_writing(self) -> None:
        """The transport has enough."""
        self._connection.sender.pause()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._connection.sender.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._transport = None
        self._connection.lost()
        self._lost(exc)


def take_over(transport: asyncio.Transport, link: Link, reader: asyncio.StreamReader) -> bytes:
    """Make ``link`` the transport's protocol; return what ``reader`` had read already.

    The stream reader that the transport came with is left empty and at its end.
    """
    transport.pause_reading()
    transport.set_protocol(link)
    link.connection_made(transport)
    # A stream reader gives its buffer away only through a coroutine; this one never
    # waits, as the end of the stream is known by then.
    reader.feed_eof()
    step = reader.read(-1)
    try:
        step.send(None)
    except StopIteration as done:
        rest = cast("bytes", done.value)
    else:
        raise RuntimeError("StreamReader.read waits although its stream has ended")
    return rest
