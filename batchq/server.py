"""Runs the application on Hypercorn and uvloop: sockets, TLS, signals, the end.

One port speaks HTTP/1.1 and HTTP/2: by prior knowledge without TLS, by ALPN with it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from batchq import http1
from batchq.app import Settings, create_app
from batchq.app.problems import refused
from batchq.errors import StoreUnavailable
from batchq.http2 import Http2Settings, apply, installed
from batchq.http2.settings import DEFAULT_WINDOW
from batchq.stores.base import Store

_LOG: Final = logging.getLogger("batchq.server")

_BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted."""

_ANSWER_SECONDS: Final = 1.0
"""Time that the answers to waiting pulls get to leave, at the end."""


_CLOSE_SECONDS: Final = 5.0
"""Time that what others left behind gets at the very end: threads, connections of clients."""


_OTHER_FILES: Final = 128
"""Descriptors that are kept for what is no connection: the store's files, the loop's, logs."""


_WINDOWS: Final = 64
"""So many windows of bodies fit into a connection's half of ``inflight_bytes``. A quarter of
that may be used, and half be needed by a body: a quarter of them may be taken up as it fills."""


class StartError(Exception):
    """The server can't start; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where and how the server listens.

    Attributes:
        host: an address or a name.
        port: 0 takes a free one.
        certfile: a PEM file with the certificate chain, or None for no TLS.
        keyfile: a PEM file with its key; given exactly where ``certfile`` is.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certfile: str | None = None
    keyfile: str | None = None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All that a server is told.

    Attributes:
        listen: where it listens.
        app: the HTTP side's limits and defaults.
        http2: the limits of HTTP/2 connections.
    """

    listen: Listen = field(default_factory=Listen)
    app: Settings = field(default_factory=Settings)
    http2: Http2Settings = field(default_factory=Http2Settings)


def run(store: Store, settings: ServerSettings, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        store: holds the queues; it is started and stopped here.
        settings: what to serve and where.
        announce: is given the server's URL once the port accepts.

    Raises:
        StartError: the port, the certificate or the store can't be opened.
    """
    settings = replace(settings, http2=_fitting(_roomy(settings)))
    config = _config(settings)
    _check_tls(config)
    sock = _bind(settings.listen)
    config.bind = [f"fd://{sock.fileno()}"]
    url = _url(settings.listen, sock)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.get_loop().set_exception_handler(_on_loop_error)
            with _ending(_CLOSE_SECONDS) as served:
                runner.run(_serve(store, settings, config, partial(announce, url)))
                served()
                runner.close()
    finally:
        sock.detach()  # Hypercorn has closed the descriptor


@contextmanager
def _ending(seconds: float) -> Iterator[Callable[[], None]]:
    """Bounds what is left once all is answered and stored: the process ends, whatever hangs.

    Closing the event loop waits for threads and connections that a library left behind.

    Args:
        seconds: how long it may take from when the call that is given is made.
    """

    def give_up() -> None:
        _LOG.warning("the end took %g s after all was done; leaving without it", seconds)
        logging.shutdown()
        os._exit(0)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    try:
        yield timer.start
    finally:
        timer.cancel()


def _roomy(settings: ServerSettings) -> Http2Settings:
    """Makes room for the largest body beside others, and windows that leave it that room."""
    http2 = settings.http2
    inflight = max(http2.inflight_bytes, 4 * settings.app.max_body)
    window = min(http2.stream_window, max(inflight // (2 * _WINDOWS), DEFAULT_WINDOW))
    return replace(http2, inflight_bytes=inflight, stream_window=window)


def _fitting(http2: Http2Settings) -> Http2Settings:
    """Makes room for so many connections in the process's limit of descriptors, or lowers it.

    A process without a free descriptor could not open the store's next file either.
    """
    wanted = http2.max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return http2
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == wanted:
        return http2
    fewer = max(1, allowed - _OTHER_FILES)
    _LOG.warning(
        "the limit of open files is %d (ulimit -Hn): at most %d connections, not %d",
        allowed,
        fewer,
        http2.max_connections,
    )
    return replace(http2, max_connections=fewer)


async def _serve(
    store: Store, settings: ServerSettings, config: Config, announce: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    try:
        await store.start()
    except StoreUnavailable as error:
        raise StartError(f"the store can't be opened: {error.detail}") from error

    async def ended() -> None:
        # Hypercorn asks for this once its port accepts.
        announce()
        await stop.wait()
        store.drain()
        # Before the connections hear of the end: many a client gives up what it waits for
        # when it is told that its connection closes.
        await app.answer_waiting(_ANSWER_SECONDS)

    app = create_app(store, settings.app)
    served: Any = app
    try:
        with http1.installed(), installed(settings.http2, _refusal):
            await serve(served, config, shutdown_trigger=ended)
    finally:
        await store.stop()


def _refusal(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    answer = refused(status)
    return answer.headers, answer.body


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)


def _config(settings: ServerSettings) -> Config:
    listen = settings.listen
    config = Config()
    config.certfile = listen.certfile
    config.keyfile = listen.keyfile
    config.backlog = _BACKLOG
    apply(config, settings.http2)
    config.include_server_header = False
    config.errorlog = logging.getLogger("batchq.hypercorn")
    return config


def _check_tls(config: Config) -> None:
    if (config.certfile is None) != (config.keyfile is None):
        raise StartError("TLS needs both --certfile and --keyfile")
    try:
        config.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error) or "unreadable"
        raise StartError(
            f"can't use the certificate {config.certfile} with the key {config.keyfile}: {reason}"
        ) from error


def _bind(listen: Listen) -> socket.socket:
    where = f"{listen.host}:{listen.port}"
    try:
        infos = socket.getaddrinfo(
            listen.host or None, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"can't listen on {where}: {reason}") from error
    family, kind, protocol, _, address = infos[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise StartError(f"can't listen on {where}: {error.strerror or error}") from error
    return sock


def _url(listen: Listen, sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if listen.certfile is None else 'https'}://{shown}:{port}"


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs what nobody awaits; handshakes that fail are the client's affair."""
    if not isinstance(context.get("exception"), ssl.SSLError):
        loop.default_exception_handler(context)
