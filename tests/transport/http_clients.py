"""The clients that the tests compare."""

import httpx
from transport.raw_server import PATIENCE

from batchq_client.transport import MultiplexTransport, TransportSettings


def multiplex_client(**settings: float | None) -> httpx.AsyncClient:
    chosen = TransportSettings(**settings)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=MultiplexTransport(settings=chosen), timeout=PATIENCE)


def stock_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(http1=False, http2=True, timeout=PATIENCE, trust_env=False)
