"""A server that does, frame by frame, what a test tells it: also what no real server does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self, TypeVar

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

F = TypeVar("F", bound=Frame)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 10.0  # seconds until a test that waits for nothing is given up


class RawPeer:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.frames: list[Frame] = []  # all that came, for looking back
        self.client_settings: dict[int, int] = {}

    async def handshake(self, settings: dict[int, int] | None = None) -> Self:
        async with asyncio.timeout(PATIENCE):
            assert await self.reader.readexactly(len(PREFACE)) == PREFACE
        # httpcore opens one stream at a time until it is told how many there may be.
        given = {SettingsFrame.MAX_CONCURRENT_STREAMS: 1000} | (settings or {})
        await self.send(SettingsFrame(0, settings=given))
        frame = await self.next(SettingsFrame)
        self.client_settings = dict(frame.settings)
        await self.send(SettingsFrame(0, flags=["ACK"]))
        return self

    async def send(self, *frames: Frame) -> None:
        await self.send_bytes(b"".join(frame.serialize() for frame in frames))

    async def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def any_frame(self) -> Frame | None:
        """Give the next frame, whatever it is; None at the end of the connection."""
        try:
            async with asyncio.timeout(PATIENCE):
                header = await self.reader.readexactly(9)
                frame, length = Frame.parse_frame_header(memoryview(header))
                frame.parse_body(memoryview(await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.frames.append(frame)
        return frame

    async def next(self, kind: type[F]) -> F:
        """Give the next frame of this kind; what comes before it is in `frames`."""
        while True:
            frame = await self.any_frame()
            assert frame is not None, f"the connection ended before a {kind.__name__}"
            if isinstance(frame, kind):
                return frame

    async def request(self) -> tuple[int, dict[bytes, bytes]]:
        """Give the next request's stream id and fields."""
        frame = await self.next(HeadersFrame)
        return frame.stream_id, dict(self.decoder.decode(frame.data, raw=True))

    async def body(self, stream_id: int) -> bytes:
        """Give the whole body of a request."""
        parts = []
        while True:
            frame = await self.next(DataFrame)
            assert frame.stream_id == stream_id
            parts.append(frame.data)
            if "END_STREAM" in frame.flags:
                return b"".join(parts)

    def head(
        self, stream_id: int, status: int = 200, *, end: bool = False, **fields: str
    ) -> HeadersFrame:
        named = [(name.replace("_", "-"), value) for name, value in fields.items()]
        block = self.encoder.encode([(":status", str(status)), *named])
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        return HeadersFrame(stream_id, data=block, flags=flags)

    def trailers(self, stream_id: int, **fields: str) -> HeadersFrame:
        block = self.encoder.encode(list(fields.items()))
        return HeadersFrame(stream_id, data=block, flags=["END_HEADERS", "END_STREAM"])

    async def answer(self, stream_id: int, body: bytes = b"ok", status: int = 200) -> None:
        await self.send(self.head(stream_id, status), data(stream_id, body, end=True))

    async def ping(self) -> None:
        """Wait until the client has handled all that was sent."""
        await self.send(PingFrame(0, opaque_data=b"in-order"))
        while "ACK" not in (await self.next(PingFrame)).flags:
            pass

    def close(self) -> None:
        self.writer.close()

    def seen(self, kind: type[F]) -> list[F]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


class RawServer:
    """Listens; each test takes the connections one by one."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[RawPeer] = asyncio.Queue()
        self._peers: list[RawPeer] = []
        self.url = ""

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = RawPeer(reader, writer)
        self._peers.append(peer)
        self._accepted.put_nowait(peer)

    async def accept(self) -> RawPeer:
        async with asyncio.timeout(PATIENCE):
            return await self._accepted.get()

    async def peer(self, settings: dict[int, int] | None = None) -> RawPeer:
        return await (await self.accept()).handshake(settings)

    @property
    def waiting(self) -> int:
        """How many connections have come that no test has taken."""
        return self._accepted.qsize()

    @classmethod
    @asynccontextmanager
    async def run(cls) -> AsyncIterator[Self]:
        self = cls()
        server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0, limit=2**22)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            server.close()
            for peer in self._peers:
                peer.writer.transport.abort()
            await server.wait_closed()


def data(stream_id: int, payload: bytes = b"", *, end: bool = False) -> DataFrame:
    return DataFrame(stream_id, data=payload, flags=["END_STREAM"] if end else [])


def reset(stream_id: int, code: int) -> RstStreamFrame:
    return RstStreamFrame(stream_id, error_code=code)


def goaway(last_stream_id: int, code: int = 0) -> GoAwayFrame:
    return GoAwayFrame(0, last_stream_id=last_stream_id, error_code=code)


def window(stream_id: int, increment: int) -> WindowUpdateFrame:
    return WindowUpdateFrame(stream_id, window_increment=increment)
