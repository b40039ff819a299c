"""How the client's httpx is made: the one place that chooses the transport."""

from __future__ import annotations

from itertools import count
from typing import Final

import httpx

ROLE: Final = "batchq.role"
"""Request extension that names a kind of requests with connections of their own."""

PULL: Final = "pull"
"""The role of pulls: they wait, and what waits must not hold up what moves."""

_PULL_CONNECTIONS: Final = 8


def open_http(*, verify: bool = True) -> httpx.AsyncClient:
    """Makes an httpx client that speaks HTTP/2: by prior knowledge to ``http://``, by ALPN else.

    Proxies of the environment are not used: they do not carry HTTP/2 in plain text.

    Args:
        verify: whether the certificates of ``https://`` are verified.
    """
    return httpx.AsyncClient(transport=_Roles(verify=verify), trust_env=False)


class _Roles(httpx.AsyncBaseTransport):
    """Spreads pulls over connections of their own.

    On httpx's own transport the requests of a connection take turns to read it, in the
    order they came: an answer behind a pull that waits is not seen until that is over.
    """

    def __init__(self, *, verify: bool) -> None:
        context = httpx.create_ssl_context(verify=verify)
        self._main = _transport(context, "https")
        self._plain = _transport(context, "http")
        self._pulls = [
            {kind: _transport(context, kind) for kind in ("http", "https")}
            for _ in range(_PULL_CONNECTIONS)
        ]
        self._turn = count()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        scheme = request.url.scheme
        if request.extensions.get(ROLE) == PULL:
            turn = self._pulls[next(self._turn) % len(self._pulls)]
            return await turn[scheme].handle_async_request(request)
        transport = self._plain if scheme == "http" else self._main
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in (
            self._main,
            self._plain,
            *(transport for pair in self._pulls for transport in pair.values()),
        ):
            await transport.aclose()


def _transport(context: object, scheme: str) -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(
        verify=context,  # type: ignore[arg-type]
        http1=scheme == "https",
        http2=True,
        trust_env=False,
    )
