"""A client's transport that holds one numbered push back, on the connection of all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from batchq_client import Client
from batchq_client.transport import MultiplexTransport


class HoldingTransport(httpx.AsyncBaseTransport):
    """Passes requests on, and holds one push until it is released.

    Args:
        seq: its ``Producer-Seq``.
        body: the second half of its body is held; otherwise its answer.

    Attributes:
        released: set it to let the push go on.
    """

    def __init__(self, seq: int, *, body: bool) -> None:
        self._inner = MultiplexTransport()
        self._seq = str(seq)
        self._body = body
        self.released = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pushes = request.url.path.startswith("/push/")
        if not pushes or request.headers.get("producer-seq") != self._seq:
            return await self._inner.handle_async_request(request)
        if self._body:
            held = httpx.Request(
                request.method,
                request.url,
                headers=request.headers,
                content=self._halves(request.content),
                extensions=request.extensions,
            )
            return await self._inner.handle_async_request(held)
        answer = await self._inner.handle_async_request(request)
        await self.released.wait()
        return answer

    async def _halves(self, body: bytes) -> AsyncIterator[bytes]:
        half = len(body) // 2
        yield body[:half]
        await self.released.wait()
        yield body[half:]

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def holding(url: str, seq: int, *, body: bool) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A client that holds a push as ``HoldingTransport`` does, and what releases it."""
    transport = HoldingTransport(seq, body=body)
    async with httpx.AsyncClient(transport=transport) as http:
        yield Client(url, http=http), transport.released
