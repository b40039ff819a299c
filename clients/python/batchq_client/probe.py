"""Finds out what a server speaks that closed a connection without a word."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import httpx

_SECONDS: Final = 3.0


def said_nothing(error: httpx.TransportError) -> bool:
    """The connection was made, and ended before the server said anything."""
    return isinstance(error, httpx.ConnectError) and isinstance(
        error.__cause__, httpx.TransportError
    )


async def speaks_tls(url: httpx.URL) -> bool:
    """Tells whether the server of an ``http://`` URL does a TLS handshake on its port."""
    context = ssl.create_default_context()
    # Whoever it is: nothing is sent.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(url.host, url.port or 80, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
