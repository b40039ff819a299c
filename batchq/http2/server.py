"""Hypercorn's TCP server, but that an HTTP/2 connection reads from the transport itself.

Hypercorn reads 64 KiB at a time through a stream reader, in a task. Once a connection is
known to speak HTTP/2 (by ALPN, by its preface, or by an upgrade) the transport's protocol
is exchanged and nothing stands between the socket and the frames. HTTP/1.1 stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

import h11
from hypercorn.asyncio.tcp_server import TCPServer as HypercornTCPServer
from hypercorn.events import Closed, Event, RawData, Updated

from batchq.http2.intake import CountedApp
from batchq.http2.liveness import probe
from batchq.http2.protocol import H2Protocol
from batchq.http2.registry import Registry

_HTTP11_READ = 2**16


class TCPServer(HypercornTCPServer):
    """One connection.

    ``registry`` is set by ``install`` on a subclass: it counts them.
    """

    registry: ClassVar[Registry]
    _ended = False

    async def run(self) -> None:
        """Serve the connection, or end it at once where there are too many."""
        if not self.registry.admit(self.loop.time()):
            self.writer.transport.abort()
            return
        probe(self.writer.get_extra_info("socket"), self.registry.settings)
        self.app = CountedApp(self.app, self.registry.inflight)
        try:
            await super().run()
        finally:
            self.registry.leave()

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
        # Hypercorn would keep all of a connection that has gone until the time for idle ones
        # is over: the task that waits for that is one that the connection waits for.
        self._ended = True
        await self.idle_task.stop()
        await self.protocol.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        """Act on what the protocol has to send or to tell."""
        if not (self._ended and isinstance(event, Updated)):
            await super().protocol_send(event)

    async def _read_some(self) -> bool:
        try:
            async with asyncio.timeout(self._patience()):
                data = await self.reader.read(_HTTP11_READ)
        except (OSError, TimeoutError):  # TLS errors are OSErrors
            return False
        await self.protocol.handle(RawData(data))
        return True

    def _patience(self) -> float | None:
        # Only a client that is sending owes the next byte: others may wait for an answer.
        protocol: Any = self.protocol.protocol
        if protocol.connection.their_state is h11.SEND_BODY:
            return self.registry.settings.body_timeout
        return self.config.read_timeout

    async def _serve_http2(self, protocol: H2Protocol) -> None:
        transport = cast("asyncio.Transport", self.writer.transport)
        streams = transport.get_protocol()
        try:
            await protocol.run(self.reader, transport)
        finally:
            # The stream writer waits for its own protocol to hear of the end.
            streams.connection_lost(None)
