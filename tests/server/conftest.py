from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from support.clients import client_of
from support.servers import LocalServer, serving


@pytest.fixture
async def served() -> AsyncIterator[LocalServer]:
    async with serving() as local:
        yield local


@pytest.fixture
async def http(served: LocalServer) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(served.url) as client:
        yield client


@pytest.fixture
async def aside(served: LocalServer) -> AsyncIterator[httpx.AsyncClient]:
    """A second connection: on one of stock httpx a quick call can wait for the slow ones."""
    async with client_of(served.url) as client:
        yield client
