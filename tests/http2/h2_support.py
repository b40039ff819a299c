"""A real server on port 0, with the cures or as Hypercorn has it, and a raw peer.

A check that is run both ways is told by ``cured`` which of the two it is to find.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hpack import Decoder, Encoder
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from batchq.http2 import Http2Settings, Registry, apply, install, uninstall

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Handler = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

# Only a bug makes anything here last so long.
PATIENCE = 20.0

_ROUNDS = 50

both = pytest.mark.parametrize("cured", [True, False], ids=["cured", "stock"])
"""The check is run on Hypercorn's own HTTP/2 too, and finds there what it is a cure for."""

on_and_off = pytest.mark.parametrize("cured", [True, False], ids=["cured", "off"])
"""The check is run with this one cure turned off too, and finds that it fails."""


async def answer(send: Any, body: bytes = b"", status: int = 200) -> None:
    fields = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def read_all(receive: Any) -> bytes | None:
    """Return the body; None when the client went away."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


@dataclass
class Site:
    """An application of named handlers, and what they noticed."""

    handlers: dict[str, Handler] = field(default_factory=dict)
    events: dict[str, asyncio.Event] = field(default_factory=dict)

    def event(self, name: str) -> asyncio.Event:
        return self.events.setdefault(name, asyncio.Event())

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        handler = self.handlers.get(scope["path"], hello)
        await handler(scope, receive, send)


async def hello(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
    await answer(send, b"hello")


async def size(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = await read_all(receive)
    if body is not None:
        await answer(send, b"%d" % len(body))


async def wait(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer nothing until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass
class Server:
    port: int
    registry: Registry | None
    stop: asyncio.Event
    task: asyncio.Task[None]


@asynccontextmanager
async def serving(
    app: Any,
    *,
    cured: bool = True,
    settings: Http2Settings | None = None,
    receive_buffer: int = 0,
    **config_values: Any,
) -> AsyncIterator[Server]:
    """Serve an application.

    Args:
        app: it.
        cured: with this project's HTTP/2 side; else as Hypercorn has it.
        settings: limits of the former.
        receive_buffer: bytes of the sockets' buffers; 0 leaves them to the kernel.
        config_values: attributes of Hypercorn's configuration.
    """
    config = Config()
    config.errorlog = None
    config.graceful_timeout = 1.0
    listener = socket.create_server(("127.0.0.1", 0))
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    registry = None
    if cured:
        settings = settings or Http2Settings()
        registry = install(settings)
        apply(config, settings)
        config.graceful_timeout = 5.0
    else:
        uninstall()
    for name, value in config_values.items():
        setattr(config, name, value)
    stop = asyncio.Event()
    task = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    try:
        yield Server(port, registry, stop, task)
    finally:
        stop.set()
        try:
            # Hypercorn by itself may wait for ever for handlers that nobody releases.
            await asyncio.wait_for(
                asyncio.gather(task, return_exceptions=True), 10.0 if cured else 2.0
            )
        except TimeoutError:
            if cured:
                raise
        finally:
            uninstall()


class Peer:
    """A client that sends any frame it likes, and reads frames one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.seen: list[Frame] = []

    def send(self, *frames: Frame | bytes) -> None:
        self.writer.write(
            b"".join(item if isinstance(item, bytes) else item.serialize() for item in frames)
        )

    def request(
        self,
        stream_id: int,
        path: str = "/",
        *,
        method: str = "GET",
        fields: tuple[tuple[str, str], ...] = (),
        end: bool = True,
    ) -> HeadersFrame:
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        frame = HeadersFrame(stream_id, data=self.encoder.encode([*pseudo, *fields]))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return frame

    async def next(self, patience: float = PATIENCE) -> Frame | None:
        """Return the next frame, or None at the end of the connection."""
        try:
            async with asyncio.timeout(patience):
                head = await self.reader.readexactly(9)
                frame, length = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        if isinstance(frame, HeadersFrame):
            frame.fields = dict(self.decoder.decode(frame.data))  # type: ignore[attr-defined]
        self.seen.append(frame)
        return frame

    async def until(
        self, kind: type[Frame], stream_id: int | None = None, patience: float = PATIENCE
    ) -> Any:
        """Return the next frame of a kind; fail at the end of the connection."""
        while True:
            frame = await self.next(patience)
            if frame is None:
                raise EOFError(f"the connection ended before {kind.__name__}; got {self.seen}")
            if isinstance(frame, kind) and stream_id in (None, frame.stream_id):
                return frame

    async def status(self, stream_id: int, patience: float = PATIENCE) -> int:
        frame = await self.until(HeadersFrame, stream_id, patience)
        return int(frame.fields[":status"])

    async def body(self, stream_id: int) -> bytes:
        parts = []
        while True:
            frame = await self.until(DataFrame, stream_id)
            parts.append(frame.data)
            if "END_STREAM" in frame.flags:
                return b"".join(parts)

    async def rest(self) -> list[Frame]:
        """Return all frames up to the end of the connection."""
        frames = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
        return frames

    async def goaway(self) -> ErrorCodes:
        return ErrorCodes((await self.until(GoAwayFrame)).error_code)

    async def reset(self, stream_id: int) -> ErrorCodes:
        return ErrorCodes((await self.until(RstStreamFrame, stream_id)).error_code)

    async def handled(self) -> None:
        """Return once all that was sent has been acted on: frames are, in their order."""
        self.send(PingFrame(0, b"in order"))
        while "ACK" not in (await self.until(PingFrame)).flags:
            pass

    async def alive(self, stream_id: int, path: str = "/") -> bool:
        """Whether another request on this connection is answered."""
        self.send(self.request(stream_id, path))
        return await self.status(stream_id) == 200 and await self.body(stream_id) == b"hello"


@asynccontextmanager
async def peer(port: int, settings: dict[int, int] | None = None) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Peer(reader, writer)
    client.send(PREFACE, SettingsFrame(0, settings=settings or {}))
    try:
        yield client
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def settled(port: int) -> None:
    """Return once a server has acted on all that was sent to it before.

    It runs in the test's own event loop, which looks at every socket each time round: while
    it answers many requests of another connection, nothing that it could do is left undone.
    """
    async with peer(port) as other:
        for stream_id in range(1, 2 * _ROUNDS, 2):
            assert await other.alive(stream_id, "/settled")


async def comes(task: asyncio.Task[Any], port: int, *, expected: bool) -> bool:
    """Whether a task ends by itself; where it should not, once the server has settled."""
    if expected:
        await asyncio.wait([task], timeout=PATIENCE)
    else:
        await settled(port)
    return task.done()


def data(stream_id: int, payload: bytes = b"", *, end: bool = False) -> DataFrame:
    return DataFrame(stream_id, payload, flags=["END_STREAM"] if end else [])
