"""Putting it in: the two names that Hypercorn looks up when a connection starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import hypercorn.asyncio.run as hypercorn_run
import hypercorn.protocol as hypercorn_protocol
from hypercorn.asyncio.tcp_server import TCPServer as StockTCPServer
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol as StockH2Protocol

from batchq.http2.protocol import H2Protocol
from batchq.http2.registry import Registry
from batchq.http2.server import TCPServer
from batchq.http2.settings import Http2Settings
from batchq.http2.stream import Refusal, bare

# The minor version whose sources this package was written against.
HYPERCORN = "0.18."

# Above what a busy connection reaches: the budgets guard instead, and lose no stream.
_UNLIMITED = 2**62


class IncompatibleHypercornError(RuntimeError):
    """Another version of Hypercorn is installed than the one whose classes are replaced."""


def install(settings: Http2Settings | None = None, refusal: Refusal = bare) -> Registry:
    """Have every HTTP/2 connection that starts from now on served by this package.

    It rebinds ``hypercorn.protocol.H2Protocol`` and ``hypercorn.asyncio.run.TCPServer``;
    HTTP/1.1 is served as before. A second call replaces the first one's settings.

    Args:
        settings: the limits; the defaults without it.
        refusal: gives the fields and the body of an answer, by its status, to a request
            that never reaches the application; without it there is neither.

    Raises:
        IncompatibleHypercornError: Hypercorn is not of the version this was made for.
    """
    if not version("hypercorn").startswith(HYPERCORN):
        raise IncompatibleHypercornError(f"Hypercorn {HYPERCORN}* is needed")
    registry = Registry(settings or Http2Settings(), refusal)
    shared = {"registry": registry}
    _rebind(type("H2Protocol", (H2Protocol,), shared), type("TCPServer", (TCPServer,), shared))
    return registry


def uninstall() -> None:
    """Give Hypercorn its own classes back; open connections stay as they are."""
    _rebind(StockH2Protocol, StockTCPServer)


@contextmanager
def installed(settings: Http2Settings | None = None, refusal: Refusal = bare) -> Iterator[Registry]:
    """``install`` for the length of a ``with`` block."""
    registry = install(settings, refusal)
    try:
        yield registry
    finally:
        uninstall()


def apply(config: Config, settings: Http2Settings) -> None:
    """Set what Hypercorn itself decides for HTTP/2 connections, and for those beside them.

    Args:
        config: changed in place: the request cap that would end busy connections is
            lifted, the time for idle ones and for a graceful end set to match.
        settings: the limits that ``install`` was given.
    """
    config.keep_alive_max_requests = _UNLIMITED
    config.keep_alive_timeout = int(settings.idle_timeout) or 1
    config.graceful_timeout = settings.drain_timeout + 2 * settings.linger + 1
    config.h2_max_concurrent_streams = settings.max_concurrent_streams
    config.h2_max_header_list_size = settings.max_header_list_size
    config.h2_max_inbound_frame_size = settings.max_frame_size


def _rebind(protocol: Any, server: Any) -> None:
    hypercorn_protocol.H2Protocol = protocol  # type: ignore[attr-defined]
    hypercorn_run.TCPServer = server  # type: ignore[attr-defined]
