"""Peers and clients for the transport's tests."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvloop
from transport.http_clients import multiplex_client
from transport.raw_server import RawServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on both event loops: their transports differ in much."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    async with RawServer.run() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with multiplex_client() as client:
        yield client
