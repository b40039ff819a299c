from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.link import Address


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Address]:
    """A server that sends back what it gets, and its end after the client's."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()
