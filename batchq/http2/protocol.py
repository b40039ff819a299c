"""What Hypercorn calls for an HTTP/2 connection: its constructor and ``initiate``, ``handle``.

It joins a ``Connection`` to Hypercorn's tasks, settings and shutdown, and keeps the
clocks: idle, stalled, draining and lingering. ``liveness`` asks silent clients.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, cast

from h2.errors import ErrorCodes
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext

from batchq.http2.connection import Connection
from batchq.http2.headers import CONNECTION_FIELDS, MalformedRequestError, request_head
from batchq.http2.intake import CountedApp
from batchq.http2.link import Link, take_over
from batchq.http2.liveness import Liveness
from batchq.http2.registry import Registry
from batchq.http2.sender import Sender
from batchq.http2.stream import Stream

_UPGRADE_FIELDS = CONNECTION_FIELDS | {b"http2-settings"}

# Looked at so often, a timeout is noticed at most half of itself too late.
_TICKS = 2


class H2Protocol:
    """Stands in for ``hypercorn.protocol.h2.H2Protocol``; the arguments are Hypercorn's.

    ``registry`` is set by ``install`` on a subclass: the settings, and all connections.
    """

    registry: ClassVar[Registry]

    def __init__(  # noqa: PLR0913, PLR0917  Hypercorn's arguments
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        task_group: TaskGroup,
        connection_state: ConnectionState,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        # What is counted there for HTTP/1.1 is counted by the connection here.
        self._app = app.inner if isinstance(app, CountedApp) else app
        self._config = config
        self._context = context
        self._task_group = task_group
        self._send = send
        self._loop = asyncio.get_running_loop()
        settings = self.registry.settings
        self.inflight = self.registry.inflight
        self._settings = settings
        sender = Sender(settings, self._loop, self._abort)
        self.connection = connection = Connection(settings, config, sender, self)
        connection.scheme = "https" if ssl else "http"
        connection.client = client
        connection.server = server
        connection.refusal = self.registry.refusal
        connection.state = dict(connection_state)
        self._link = Link(connection, self.registry.read_buffer(context), self._lost)
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._liveness = Liveness(connection, settings, self._after, self._abort)
        self._sync_spawn = partial(self._loop.run_in_executor, None)

    # --- what Hypercorn calls ----------------------------------------------------

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Open the connection; with ``headers``, answer the request that was upgraded."""
        self.connection.open()
        if headers is None:
            return
        # RFC 7540 section 3.2.1. The client's own SETTINGS frame follows: of settings that
        # can't be read only a hint is lost.
        try:
            payload = base64.urlsafe_b64decode((settings or b"") + b"==")
        except binascii.Error:
            payload = b""
        try:
            head = request_head(_upgraded(headers, self.connection.scheme))
        except MalformedRequestError:
            self.connection.finish(ErrorCodes.PROTOCOL_ERROR, "the upgraded request")
        else:
            self.connection.upgrade(payload, head)

    async def handle(self, event: Event) -> None:
        """Act on what was read before ``run``, or on the end of the connection."""
        if isinstance(event, RawData):
            self._link.feed(event.data)
        elif isinstance(event, Closed):
            self.connection.lost()

    # --- the connection's life ----------------------------------------------------

    async def run(self, reader: asyncio.StreamReader, transport: asyncio.Transport) -> None:
        """Serve the connection until it is gone."""
        self._transport = transport
        ended = reader.at_eof()
        rest = take_over(transport, self._link, reader)
        sender = self.connection.sender
        sender.attach(transport)
        if rest:
            self._link.feed(rest)
        if ended:
            self._link.eof_received()
            transport.close()
        if self.connection.closed:
            self.over()
        transport.resume_reading()
        self._tick()
        self._liveness.start(transport)
        self.registry.add(self, self._context)
        try:
            await self._gone
        finally:
            self.registry.discard(self)
            for timer in self._timers.values():
                timer.cancel()
            self.connection.lost()
            transport.abort()

    def drain(self) -> None:
        """End gracefully: no new streams, those that are open finish in bounded time."""
        connection = self.connection
        if connection.draining:
            return
        connection.drain()
        if not connection.closed:
            self._after("drain", self._settings.drain_timeout, connection.finish)

    def over(self) -> None:
        """The connection has nothing left to do: close once the client has got it all."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self.connection.sender.flush_last()
        if transport.can_write_eof() and self._settings.linger > 0:
            transport.write_eof()
            self._after("linger", self._settings.linger, transport.close)
        else:
            transport.close()
        self._after("abort", self._settings.stall_timeout, transport.abort)

    def _abort(self) -> None:
        self.connection.lost()
        if self._transport is not None:
            self._transport.abort()

    def _lost(self, _exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    # --- clocks -------------------------------------------------------------------

    def _after(self, name: str, delay: float, action: Callable[[], object]) -> None:
        previous = self._timers.get(name)
        if previous is not None:
            previous.cancel()
        self._timers[name] = self._loop.call_later(delay, action)

    def _tick(self) -> None:
        settings, connection = self._settings, self.connection
        if connection.closed:
            return
        now = self._loop.time()
        if not connection.streams and now - connection.idle_since >= settings.idle_timeout:
            connection.finish()
            return
        sender = connection.sender
        if sender.blocked and now - sender.blocked_since >= settings.stall_timeout:
            self._abort()
            return
        self._reset_stalled(now)
        least = min(settings.idle_timeout, settings.stall_timeout, settings.body_timeout)
        self._after("tick", least / _TICKS, self._tick)

    def _reset_stalled(self, now: float) -> None:
        connection, settings = self.connection, self._settings
        since = now - settings.stall_timeout
        for stream in list(connection.streams.values()):
            buffer = stream.buffer
            if buffer.size and buffer.since <= since:
                connection.reset(stream, ErrorCodes.CANCEL, blame=False)
            elif stream.over and buffer.since <= since:
                # Answered, but its body does not end.
                connection.reset(stream, ErrorCodes.NO_ERROR, blame=False)
            elif stream.body.stalled(now, settings.body_timeout):
                connection.reset(stream, ErrorCodes.CANCEL, blame=False)

    def now(self) -> float:
        """Return the event loop's time in seconds."""
        return self._loop.time()

    # --- the application ----------------------------------------------------------

    def start(self, stream: Stream) -> None:
        """Run a stream's handler in a task of the connection."""
        self._task_group.spawn(stream.run)
        if getattr(self._context, "max_requests", None) is not None:
            self._task_group.spawn(self._context.mark_request)

    def call_app(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        """Run the application on a request."""
        return self._app(cast("Any", scope), receive, send, self._sync_spawn, self._call_soon)

    def _call_soon(self, func: Callable[..., Any], *args: Any) -> Any:
        # For WSGI applications, which run in a thread.
        return asyncio.run_coroutine_threadsafe(func(*args), self._loop).result()


def _upgraded(headers: list[tuple[bytes, bytes]], scheme: str) -> list[tuple[bytes, bytes]]:
    """Return an HTTP/1.1 request's fields in the order and number that HTTP/2 has them."""
    pseudo = {b":scheme": scheme.encode()}
    others = []
    for name, value in headers:
        if name.startswith(b":"):
            pseudo[name] = value
        elif name.lower() not in _UPGRADE_FIELDS:
            others.append((name.lower(), value))
    return [*pseudo.items(), *others]
