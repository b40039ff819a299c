"""A link between a client and a server on loopback: one that is slow, or that freezes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

READ = 2**18


class Link:
    """A port that leads to another.

    Args:
        onward: The port that it leads to.
        delay: Seconds that it takes each way.
    """

    def __init__(self, onward: int, delay: float) -> None:
        """Lead nowhere yet; `link` opens it."""
        self._onward = onward
        self._delay = delay
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._frozen: set[asyncio.StreamWriter] = set()
        self.port = 0

    def freeze(self) -> None:
        """Carry nothing more on the connections that are open, and end none of them."""
        self._frozen.update(self._writers)

    async def open(self) -> asyncio.Server:
        """Listen, at a port of its own."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def close(self) -> None:
        """Cut all connections."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("127.0.0.1", self._onward)
        self._writers += (writer, back)
        for carried in (self._carry(reader, back), self._carry(onward, writer)):
            self._tasks.append(asyncio.create_task(carried))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while received := await reader.read(READ):
            if writer not in self._frozen:
                loop.call_later(self._delay, writer.write, received)


@asynccontextmanager
async def link(onward: int, delay: float = 0.0) -> AsyncIterator[Link]:
    """Open a link for the length of the block."""
    opened = Link(onward, delay)
    server = await opened.open()
    try:
        yield opened
    finally:
        server.close()
        opened.close()
