"""Opens connections: TCP or TLS, then the peer's SETTINGS, or an error that says what is wrong."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from .connection import Connection
from .errors import ClosedBeforeSettings, HTTP2NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import TransportSettings

__all__ = ["Origin", "connect"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
# After our own close, how long the peer may take for TLS's goodbye, in seconds.
_TLS_SHUTDOWN = 1.0
_NO_COMMON_PROTOCOL = "NO_APPLICATION_PROTOCOL"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go, and in which role; each origin and role has its own connections."""

    scheme: str
    host: str
    port: int
    role: str

    @classmethod
    def of(cls, url: httpx.URL, role: str) -> Origin:
        """Name the origin of a URL.

        Raises:
            httpx.UnsupportedProtocol: The URL is neither http:// nor https://.
        """
        default_port = _DEFAULT_PORTS.get(url.scheme)
        if default_port is None:
            msg = f"cannot send requests to {url.scheme or 'no scheme'!r} URLs"
            raise httpx.UnsupportedProtocol(msg)
        return cls(url.scheme, url.raw_host.decode("ascii"), url.port or default_port, role)


async def connect(
    origin: Origin,
    settings: TransportSettings,
    ssl_context: ssl.SSLContext | None,
    on_change: Callable[[Connection], None],
) -> Connection:
    """Open a connection and wait until the peer has shown that it speaks HTTP/2.

    Raises:
        httpx.ConnectError: No connection, or it ended before it was of use.
        ClosedBeforeSettings: The peer closed it without a word, in clear text.
        HTTP2NotSupported: The peer is there and speaks something else.
    """
    loop = asyncio.get_running_loop()
    secure = origin.scheme == "https"
    connection = Connection(settings, on_change)
    try:
        transport, _ = await loop.create_connection(
            lambda: connection,
            origin.host,
            origin.port,
            ssl=ssl_context,
            ssl_shutdown_timeout=_TLS_SHUTDOWN if secure else None,
        )
    except ssl.SSLError as error:
        if _NO_COMMON_PROTOCOL in str(error):
            msg = f"{origin.host}:{origin.port} does not offer HTTP/2 (ALPN)"
            raise HTTP2NotSupported(msg) from error
        raise httpx.ConnectError(str(error)) from error
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error
    except BaseException:
        # uvloop closes the socket of a connection that is being made without saying so.
        connection.give_up()
        raise
    try:
        if secure:
            _check_alpn(transport, origin)
        await connection.ready
    except HTTP2NotSupported:
        transport.abort()
        raise
    except httpx.TransportError as error:
        transport.abort()
        raise _not_connected(error, origin) from error
    except BaseException:
        transport.abort()
        raise
    return connection


def _not_connected(error: httpx.TransportError, origin: Origin) -> httpx.ConnectError:
    if not isinstance(error, ClosedBeforeSettings):
        return httpx.ConnectError(str(error))
    msg = f"{origin.host}:{origin.port} closed the connection before it said anything"
    if origin.scheme == "https":  # it chose HTTP/2
        return httpx.ConnectError(msg)
    return ClosedBeforeSettings(f"{msg}: it may not speak HTTP/2")


def _check_alpn(transport: asyncio.Transport, origin: Origin) -> None:
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    chosen = tls.selected_alpn_protocol()
    if chosen != "h2":
        msg = f"{origin.host}:{origin.port} does not offer HTTP/2 (ALPN chose {chosen})"
        raise HTTP2NotSupported(msg)
