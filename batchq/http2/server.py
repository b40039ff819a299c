"""Hypercorn's TCP server, but that an HTTP/2 connection reads from the transport itself.

Hypercorn reads 64 KiB at a time through a stream reader, in a task. Once a connection is
known to speak HTTP/2 (by ALPN, by its preface, or by an upgrade) the transport's protocol
is exchanged and nothing stands between the socket and the frames. HTTP/1.1 stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import cast

from hypercorn.asyncio.tcp_server import TCPServer as HypercornTCPServer
from hypercorn.events import Closed, RawData

from batchq.http2.protocol import H2Protocol

_HTTP11_READ = 2**16


class TCPServer(HypercornTCPServer):
    """One connection."""

    async def _read_data(self) -> None:
        while True:
            # Typed by Hypercorn as one of its own, which ``install`` has made untrue.
            protocol: object = self.protocol.protocol
            if isinstance(protocol, H2Protocol):
                await self.idle_task.stop()
                await self._serve_http2(protocol)
                return
            if self.reader.at_eof() or not await self._read_some():
                break
        await self.protocol.handle(Closed())

    async def _read_some(self) -> bool:
        try:
            async with asyncio.timeout(self.config.read_timeout):
                data = await self.reader.read(_HTTP11_READ)
        except (OSError, TimeoutError):  # TLS errors are OSErrors
            return False
        await self.protocol.handle(RawData(data))
        return True

    async def _serve_http2(self, protocol: H2Protocol) -> None:
        transport = cast("asyncio.Transport", self.writer.transport)
        streams = transport.get_protocol()
        try:
            await protocol.run(self.reader, transport)
        finally:
            # The stream writer waits for its own protocol to hear of the end.
            streams.connection_lost(None)
