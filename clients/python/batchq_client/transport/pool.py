"""The connections to one origin in one role, and who waits for a place on them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import httpx

from .waiting import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .connection import Connection
    from .settings import Timeouts

__all__ = ["OriginPool"]

# How long the end of all connections may take, in seconds: a connection gives its peer a
# second for the goodbye and then ends by force.
_CLOSING = 3.0


class _Place:
    """A place that a request waits for; kept by identity."""

    __slots__ = ("connection", "error", "signal")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.error: httpx.TransportError | None = None
        self.signal = Signal()


class OriginPool:
    """Gives places on connections, in the order they were asked for.

    The first connection is filled before the next is opened, and at most one is being
    opened at a time, whatever the number of requests that wait for it: how many streams
    it allows is known only then.

    Args:
        connect: Opens a connection that reports its changes to the given callable.
        max_connections: Most usable connections at a time.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[Connection], None]], Coroutine[None, None, Connection]],
        max_connections: int,
    ) -> None:
        self._connect = connect
        self._max_connections = max_connections
        self._connections: list[Connection] = []  # all whose sockets are open
        self._waiting: OrderedDict[_Place, None] = OrderedDict()
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False

    async def acquire(self, timeouts: Timeouts) -> Connection:
        """Wait for a place on a connection; it is promised (`Connection.reserve`).

        Raises:
            httpx.ConnectError: No connection could be opened, and there is none.
            httpx.ConnectTimeout: None was opened in time.
            httpx.PoolTimeout: All are full, and no place became free in time.
        """
        if not self._waiting:
            for connection in self._connections:
                if connection.room > 0:
                    connection.reserve()
                    return connection
        place = _Place()
        self._waiting[place] = None
        self._serve()
        try:
            return await self._wait(place, timeouts)
        except BaseException:
            self._give_up(place)
            raise

    async def _wait(self, place: _Place, timeouts: Timeouts) -> Connection:
        while place.connection is None:
            if place.error is not None:
                raise place.error
            attempt = self._connecting
            timeout = timeouts.pool if attempt is None else timeouts.connect
            if await place.signal.wait(timeout) or place.connection is not None:
                continue
            if attempt is None:
                msg = "no stream became free in time"
                raise httpx.PoolTimeout(msg)
            if attempt is self._connecting:
                msg = "no connection was opened in time"
                raise httpx.ConnectTimeout(msg)
        return place.connection

    def _give_up(self, place: _Place) -> None:
        self._waiting.pop(place, None)
        if place.connection is not None:
            place.connection.release()
        if not self._waiting and self._connecting is not None:
            self._connecting.cancel()

    def connection_changed(self, connection: Connection) -> None:
        """A connection has room, or is no longer usable."""
        if connection.lost.done() and connection in self._connections:
            self._connections.remove(connection)
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            connection = next((c for c in self._connections if c.room > 0), None)
            if connection is None:
                self._grow()
                return
            place, _ = self._waiting.popitem(last=False)
            connection.reserve()
            place.connection = connection
            place.signal.notify()

    def _usable(self) -> int:
        return sum(1 for connection in self._connections if connection.usable)

    def _grow(self) -> None:
        if self._connecting is None and not self._closed and self._usable() < self._max_connections:
            self._connecting = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            connection = await self._connect(self.connection_changed)
        except httpx.TransportError as error:
            self._connecting = None
            # Those who wait may still get a place on a connection that there is.
            if not self._usable():
                self._fail_waiting(error)
        except asyncio.CancelledError:
            self._connecting = None
            self._serve()  # somebody may have come since it was given up
            raise
        else:
            self._connecting = None
            self._connections.append(connection)
            self._serve()

    def _fail_waiting(self, error: httpx.TransportError) -> None:
        waiting, self._waiting = self._waiting, OrderedDict()
        for place in waiting:
            place.error = type(error)(str(error))
            place.error.__cause__ = error.__cause__
            place.signal.notify()

    def close(self) -> None:
        """End all connections; what is in use fails with an error of httpx."""
        self._closed = True
        self._fail_waiting(httpx.ConnectError("the transport was closed"))
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self._connections):
            connection.close()

    async def wait_closed(self) -> None:
        """Wait until what `close` ended is gone, for a bounded time."""
        ending: list[asyncio.Future[None]] = [c.lost for c in self._connections]
        if self._connecting is not None:
            ending.append(self._connecting)
        if ending:
            await asyncio.wait(ending, timeout=_CLOSING)
