"""HTTP clients for tests."""

from __future__ import annotations

import httpx


def client_of(url: str) -> httpx.AsyncClient:
    """A client that speaks HTTP/2 and nothing else."""
    return httpx.AsyncClient(base_url=url, http1=False, http2=True, timeout=30.0)
