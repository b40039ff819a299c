"""One exchange: what is known of a request and its answer, and who waits for it.

A stream knows no frames. Its connection tells it what has come (`head_came`, `data_came`,
…) and takes from it what is to be sent; the request's task waits here, with the request's
own deadlines.
"""

from __future__ import annotations

import asyncio
from collections import deque
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

import httpx

from .waiting import Signal

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    from .settings import Timeouts

__all__ = ["Fields", "Stream", "StreamOwner", "TransportErrorType"]

TransportErrorType = type[httpx.TransportError]
Fields = list[tuple[bytes, bytes]]
_NOTHING = memoryview(b"")
_MOST_AT_ONCE = 64 * 1024 * 1024
_NOT_TAKEN = "the peer took nothing of the request's body in time"


class StreamOwner(Protocol):
    """The connection, as its streams see it."""

    @property
    def heard_times(self) -> int:
        """Grows whenever something comes from the peer, whatever it is for."""

    def doubt(self) -> None:
        """Nothing came from the peer in all the time that a request had."""

    def sending_wanted(self, stream: Stream) -> None:
        """The stream has something in `outgoing`, or its end, to send."""

    def consumed(self, stream: Stream, length: int) -> None:
        """There is room for `length` bytes of the answer again."""

    def abandon(self, stream: Stream) -> None:
        """Nobody waits for the stream any more: reset it unless it is over."""


class Stream:
    """One request and its answer on a connection.

    Attributes:
        stream_id: The HTTP/2 stream's id.
        outgoing: What of the current piece of the body has not been framed yet.
        last_piece: Whether the request ends after `outgoing`.
        sent_all: Whether the request's end has been framed.
        ended: Whether the answer is complete.
        head: The answer's status and fields, once they came.
        trailers: Fields that came after the answer's body.
        at_once: The reader wants the body in one piece, once it is complete.
        missing: Bytes of the answer's body that have not come, or None where its head
            does not tell how many there are.
    """

    __slots__ = (
        "_chunks",
        "_drained",
        "_failure",
        "_owner",
        "_reader",
        "_uploader",
        "_whole",
        "at_once",
        "ended",
        "head",
        "last_piece",
        "missing",
        "outgoing",
        "progress",
        "sent_all",
        "stream_id",
        "trailers",
    )

    def __init__(self, stream_id: int, owner: StreamOwner) -> None:
        self.stream_id = stream_id
        self._owner = owner
        self.outgoing = _NOTHING
        self.last_piece = False
        self.sent_all = False
        self.ended = False
        self.head: tuple[int, Fields] | None = None
        self.trailers: Fields = []
        self.at_once = False
        self.missing: int | None = None
        self._whole: BytesIO | None = None
        # Counts what was sent and what came: a deadline is missed when it stands still.
        self.progress = 0
        self._chunks: deque[bytes] = deque()
        self._failure: tuple[TransportErrorType, str] | Exception | None = None
        self._reader = Signal()
        self._drained = Signal()
        self._uploader: asyncio.Task[None] | None = None

    # What the connection tells.

    def head_came(self, status: int, fields: Fields, length: int | None) -> None:
        """The answer's final head (not an informational one) came.

        Args:
            status: The answer's status.
            fields: Its fields, without the status.
            length: How many bytes its body has, where the head tells.
        """
        self.head = (status, fields)
        self.missing = length
        if self.at_once and length is not None and 0 < length <= _MOST_AT_ONCE:
            self._whole = _room_for(length)
        self.woken()

    def data_came(self, payload: list[memoryview], length: int) -> None:
        """Part of the answer's body came, so many bytes; the views last for the call only."""
        if self.missing is not None:
            self.missing -= length
        if self._whole is None:
            self._chunks.append(b"".join(payload))
            self.woken()
            return
        for part in payload:
            self._whole.write(part)
        self.progress += 1
        # Its size is known and bounded: the peer need not wait for a reader.
        self._owner.consumed(self, length)

    def end_came(self) -> None:
        """The answer is complete: what was not sent of the request is not wanted."""
        self.ended = True
        if self._whole is not None:
            whole, self._whole = self._whole, None
            self._chunks.append(whole.getvalue())
        self._stop_uploading()
        self.woken()

    def failed(self, error: TransportErrorType, message: str) -> None:
        """The exchange is over without its end; what came before it can still be read."""
        if self._failure is None and not self.ended:
            self._failure = (error, message)
        self._stop_uploading()
        self.woken()

    def sent(self, count: int, *, last: bool) -> None:
        """The first `count` bytes of `outgoing` were framed, and maybe the request's end."""
        self.progress += 1
        self.outgoing = self.outgoing[count:]
        self.sent_all = last
        if not self.outgoing:
            self._drained.notify()
        if last:
            self.woken()  # from here on the answer's deadline counts

    def woken(self) -> None:
        """Something changed for whoever waits for the answer."""
        self.progress += 1
        self._reader.notify()

    # What the request's task does.

    def send_bytes(self, body: bytes) -> None:
        """Send the whole body from where it lies; it must not change until it is sent."""
        self.outgoing = memoryview(body)
        self.last_piece = True
        self._owner.sending_wanted(self)

    def send_pieces(self, body: AsyncIterable[bytes] | Iterable[bytes], timeouts: Timeouts) -> None:
        """Send a body that comes piece by piece, beside whatever else is done."""
        self._uploader = asyncio.create_task(self._upload(body, timeouts.write))

    async def _upload(
        self, body: AsyncIterable[bytes] | Iterable[bytes], seconds: float | None
    ) -> None:
        try:
            if hasattr(body, "__aiter__"):
                async for piece in body:
                    await self._send_piece(piece, seconds)
            else:
                for piece in body:
                    await self._send_piece(piece, seconds)
        except Exception as error:  # noqa: BLE001 - the request's task raises it
            self._failure = self._failure or error
            self.close()
            self.woken()
        else:
            self.last_piece = True
            self._owner.sending_wanted(self)

    async def _send_piece(self, piece: bytes, seconds: float | None) -> None:
        self.outgoing = memoryview(piece)
        self._owner.sending_wanted(self)
        while self.outgoing:
            await self._wait_for(self._drained, seconds, httpx.WriteTimeout, _NOT_TAKEN)

    async def response_head(self, timeouts: Timeouts) -> tuple[int, Fields]:
        """Wait for the answer's head.

        Raises:
            httpx.TransportError: The exchange failed, or missed a deadline.
        """
        reader = self._reader
        while self.head is None:
            self._raise_failure()
            if self.sent_all or self.ended:
                await self._wait_for(reader, timeouts.read, httpx.ReadTimeout, "no answer came")
            elif self._uploader is not None:
                await self._wait_for(reader, None, httpx.WriteTimeout, "")
            else:
                await self._wait_for(reader, timeouts.write, httpx.WriteTimeout, _NOT_TAKEN)
        return self.head

    async def next_chunk(self, seconds: float | None) -> bytes | None:
        """Wait for more of the answer's body; None is its end.

        Raises:
            httpx.TransportError: The exchange failed, or missed the deadline.
        """
        while not self._chunks:
            if self.ended:
                return None
            self._raise_failure()
            msg = "no more of the answer came"
            await self._wait_for(self._reader, seconds, httpx.ReadTimeout, msg)
        chunk = self._chunks.popleft()
        self._owner.consumed(self, len(chunk))
        return chunk

    def close(self) -> None:
        """Leave the exchange; the peer is told unless it is over."""
        self._stop_uploading()
        self._chunks.clear()
        self._owner.abandon(self)

    def _stop_uploading(self) -> None:
        self.outgoing = _NOTHING
        uploader, self._uploader = self._uploader, None
        if uploader is not None and uploader is not asyncio.current_task():
            uploader.cancel()

    def _raise_failure(self) -> None:
        if isinstance(self._failure, Exception):
            raise self._failure
        if self._failure is not None:
            error, message = self._failure
            raise error(message)

    async def _wait_for(
        self, signal: Signal, seconds: float | None, error: TransportErrorType, message: str
    ) -> None:
        seen, heard = self.progress, self._owner.heard_times
        if not await signal.wait(seconds) and seen == self.progress:
            if heard == self._owner.heard_times:
                self._owner.doubt()
            raise error(message)


def _room_for(length: int) -> BytesIO:
    """Make room for a body of known size, so that each byte of it is copied once.

    ``getvalue`` of a buffer that is exactly full gives its bytes without a copy. It shows
    only when all of them came: what did not come would be NULs.
    """
    room = BytesIO()
    room.seek(length - 1)
    room.write(b"\0")
    room.seek(0)
    return room
