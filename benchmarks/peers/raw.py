"""The Python ceiling's server: bytes in, or bytes out, on bare uvloop; no HTTP, no queue."""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from typing import Any

import uvloop

HEAD = struct.Struct("!cIQ")
"""What a connection starts with: `U`, bytes that follow, 0; or `D`, bytes of a write, writes."""
BUFFER_BYTES = 1024 * 1024


class Counter(asyncio.BufferedProtocol):
    """Counts what arrives, in one reused buffer, and tells when it may write.

    Attributes:
        writable: Set while the transport takes more without piling it up.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self._buffer = bytearray(BUFFER_BYTES)
        self._count = 0
        self._wanted = 0
        self._reached = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        """Give the one buffer."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Count."""
        self._count += nbytes
        if self._count >= self._wanted:
            self._reached.set()

    def pause_writing(self) -> None:
        """The transport is full."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits; a short count is then told by `received`."""
        del exc
        self._reached.set()
        self.writable.set()

    async def received(self, size: int) -> None:
        """Wait until `size` bytes have come in all.

        Raises:
            ConnectionError: The connection ended before.
        """
        self._wanted = size
        if self._count < size:
            self._reached.clear()
            await self._reached.wait()
        if self._count < size:
            raise ConnectionError(f"{self._count} bytes came of {size}")


class RawServer(Counter):
    """Does what the connection's head asks for."""

    def __init__(self) -> None:
        """Wait for a head."""
        super().__init__()
        self._head = b""
        self._task: asyncio.Task[None] | None = None

    def buffer_updated(self, nbytes: int) -> None:
        """Take the head, then count."""
        missing = HEAD.size - len(self._head)
        if missing > 0:
            taken = min(missing, nbytes)
            self._head += bytes(self._buffer[:taken])
            nbytes -= taken
            if len(self._head) == HEAD.size:
                self._task = asyncio.get_running_loop().create_task(self._serve())
        super().buffer_updated(nbytes)

    async def _serve(self) -> None:
        mode, size, count = HEAD.unpack(self._head)
        if mode == b"U":
            await self.received(size)
            self.transport.write(b"k")
            return
        payload = os.urandom(size)
        for _ in range(count):
            self.transport.write(payload)
            await self.writable.wait()


async def _main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(RawServer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
