"""All connections of a process: how many there may be, and the graceful end of HTTP/2's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from hypercorn.typing import WorkerContext

from batchq.http2.inflight import InFlight
from batchq.http2.link import ReadBuffer
from batchq.http2.settings import Http2Settings
from batchq.http2.stream import Refusal, bare

if TYPE_CHECKING:
    from batchq.http2.protocol import H2Protocol

_LOG: Final = logging.getLogger("batchq.http2")

_REPORT_SECONDS: Final = 10.0
"""Between two log lines about refused connections: a flood of them fills no log."""


class Registry:
    """What ``install`` returns: the handle on everything that it put in.

    Args:
        settings: the limits of every connection.
        refusal: answers, by its status, what never reaches the application.

    Attributes:
        inflight: the request bodies that are not complete.
        admitted: open connections, whatever they speak.
        draining: the graceful end has begun.
    """

    def __init__(self, settings: Http2Settings, refusal: Refusal = bare) -> None:
        self.settings = settings
        self.refusal = refusal
        self.inflight = InFlight(settings.inflight_bytes, settings.stall_timeout)
        self._connections: set[H2Protocol] = set()
        self._buffers: WeakKeyDictionary[WorkerContext, ReadBuffer] = WeakKeyDictionary()
        self._watchers: WeakKeyDictionary[WorkerContext, asyncio.Task[None]] = WeakKeyDictionary()
        self._on_drain: list[Callable[[], None]] = []
        self.admitted = 0
        self._refused = 0  # since the last log line about them
        self._report_at = 0.0
        self.draining = False

    # --- for the server ------------------------------------------------------------

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` run when the end begins, before any connection hears of it.

        An application answers its waiting requests there: they then leave before their
        connections close. It is run at most once, in the event loop's thread.
        """
        self._on_drain.append(callback)

    def drain(self) -> None:
        """Begin the graceful end of every connection; more calls do nothing.

        Each gets GOAWAY, refuses new streams, and closes once its open ones are done or
        ``drain_timeout`` is over. It is begun by itself when Hypercorn shuts down; to
        call it sooner gives requests time without new ones coming in.
        """
        if self.draining:
            return
        self.draining = True
        for callback in self._on_drain:
            callback()
        for protocol in tuple(self._connections):
            protocol.drain()

    @property
    def connections(self) -> int:
        """Open HTTP/2 connections."""
        return len(self._connections)

    @property
    def streams(self) -> int:
        """Open requests on all of them."""
        return sum(len(protocol.connection.streams) for protocol in self._connections)

    # --- for the connections -------------------------------------------------------

    def admit(self, now: float) -> bool:
        """Count a connection in that speaks any protocol; false when there are too many.

        Args:
            now: the reading of a monotonic clock in seconds.
        """
        most = self.settings.max_connections
        if self.admitted < most:
            self.admitted += 1
            return True
        self._refused += 1
        if now >= self._report_at:
            _LOG.warning(
                "connections refused: %d; as many are open as are allowed: %d", self._refused, most
            )
            self._refused = 0
            self._report_at = now + _REPORT_SECONDS
        return False

    def leave(self) -> None:
        """Count an admitted connection out."""
        self.admitted -= 1

    def read_buffer(self, context: WorkerContext) -> ReadBuffer:
        """Return the buffer of the event loop that runs ``context``."""
        buffer = self._buffers.get(context)
        if buffer is None:
            buffer = self._buffers[context] = ReadBuffer(self.settings.read_size)
        return buffer

    def add(self, protocol: H2Protocol, context: WorkerContext) -> None:
        """Count a connection in, and watch for the end of the worker that it belongs to."""
        self._connections.add(protocol)
        if self.draining or context.terminated.is_set():
            protocol.drain()
        elif context not in self._watchers:
            self._watchers[context] = asyncio.create_task(self._watch(context))

    def discard(self, protocol: H2Protocol) -> None:
        """Count a connection out."""
        self._connections.discard(protocol)

    async def _watch(self, context: WorkerContext) -> None:
        await context.terminated.wait()
        self.drain()
