"""How the client's httpx is made: the one place that chooses the transport."""

from __future__ import annotations

import os
import ssl
from typing import Final

import httpx

from batchq_client.errors import ClientError
from batchq_client.transport import ROLE_EXTENSION, MultiplexTransport

ROLE: Final = ROLE_EXTENSION
"""Request extension that names a kind of requests with connections of their own."""

PULL: Final = "pull"
"""The role of pulls: they wait, and what waits must not hold up what moves."""

_TRUST_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def open_http(*, verify: ssl.SSLContext | bool = True) -> httpx.AsyncClient:
    """Makes an httpx client that speaks HTTP/2: by prior knowledge to ``http://``, by ALPN else.

    Proxies of the environment are not used: they do not carry HTTP/2 in plain text.

    Args:
        verify: whether the certificates of ``https://`` are verified, or what verifies them.
    """
    return httpx.AsyncClient(transport=MultiplexTransport(verify=verify), trust_env=False)


def trusted() -> ssl.SSLContext:
    """What verifies certificates: certifi's authorities, or those of the environment.

    Raises:
        ClientError: what ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` names can't be used.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        named = " ".join(
            f"{name}={os.environ[name]}" for name in _TRUST_VARIABLES if os.environ.get(name)
        )
        raise ClientError(
            f"can't use {named}: {error.strerror or error}; name a PEM file with the "
            "certificates of authorities"
        ) from error
