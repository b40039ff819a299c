"""How the client's httpx is made: the one place that chooses the transport."""

from __future__ import annotations

from typing import Final

import httpx

from batchq_client.transport import ROLE_EXTENSION, MultiplexTransport

ROLE: Final = ROLE_EXTENSION
"""Request extension that names a kind of requests with connections of their own."""

PULL: Final = "pull"
"""The role of pulls: they wait, and what waits must not hold up what moves."""


def open_http(*, verify: bool = True) -> httpx.AsyncClient:
    """Makes an httpx client that speaks HTTP/2: by prior knowledge to ``http://``, by ALPN else.

    Proxies of the environment are not used: they do not carry HTTP/2 in plain text.

    Args:
        verify: whether the certificates of ``https://`` are verified.
    """
    return httpx.AsyncClient(transport=MultiplexTransport(verify=verify), trust_env=False)
