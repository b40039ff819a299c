"""A bare HTTP/2 client on h2 for what a comfortable one would hide: thousands of open pulls.

It holds requests open at little cost of its own and takes the time of each answer.
Only small bodies are sent: none waits for flow control.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

DEFAULT_STREAMS = 100


@dataclass(slots=True)
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status; 0 when the stream was reset or the connection ended.
        body: The body.
        at: When the last of it came, by `time.perf_counter`.
    """

    status: int = 0
    body: bytes = b""
    at: float = 0.0


@dataclass(slots=True)
class _Stream:
    future: asyncio.Future[Answer]
    answer: Answer = field(default_factory=Answer)


class Connection(asyncio.Protocol):
    """One connection by prior knowledge.

    Attributes:
        ready: Set once the peer's settings came.
    """

    def __init__(self) -> None:
        """Start the protocol's state."""
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self._transport: Any = None
        self.ready = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface."""
        self._transport = transport
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        for event in self._h2.receive_data(data):
            self._take(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer what is open with status 0."""
        del exc
        self.ready.set()
        for number in list(self._streams):
            self._finish(number)

    @property
    def capacity(self) -> int:
        """How many streams the peer allows, at most `DEFAULT_STREAMS`."""
        limit = self._h2.remote_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
        return min(limit or DEFAULT_STREAMS, DEFAULT_STREAMS)

    @property
    def open(self) -> int:
        """How many answers are awaited."""
        return len(self._streams)

    def request(self, method: str, path: str, body: bytes = b"") -> asyncio.Future[Answer]:
        """Send a request; the future gets its answer and never an exception."""
        number = self._h2.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":path", path),
            (":scheme", "http"),
            (":authority", "127.0.0.1"),
            ("content-length", str(len(body))),
        ]
        self._h2.send_headers(number, headers, end_stream=not body)
        if body:
            self._h2.send_data(number, body, end_stream=True)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._streams[number] = _Stream(future)
        self._flush()
        return future

    def close(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def _take(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            self.ready.set()
        elif isinstance(event, ResponseReceived):
            self._streams[event.stream_id].answer.status = int(dict(event.headers)[b":status"])
        elif isinstance(event, DataReceived):
            self._streams[event.stream_id].answer.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self._finish(event.stream_id)
        elif isinstance(event, StreamReset):
            self._streams[event.stream_id].answer.status = 0
            self._finish(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            self._transport.close()

    def _finish(self, number: int) -> None:
        stream = self._streams.pop(number)
        stream.answer.at = time.perf_counter()
        if not stream.future.done():
            stream.future.set_result(stream.answer)

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._transport.write(data)


async def connect(port: int) -> Connection:
    """Open a connection and wait for the peer's settings.

    Raises:
        OSError: Nothing listens there.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    await connection.ready.wait()
    return connection
