"""One HTTP/2 connection: reads, hands out to the streams, sends what windows allow.

The socket is read by the event loop alone, whoever waits for what. Everything here is
synchronous; who waits does so on a stream. Which connection a request uses, and what
becomes of it when the connection fails, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import h2.events
import httpx
from h2.errors import ErrorCodes
from h2.exceptions import InvalidBodyLengthError, ProtocolError
from hyperframe.exceptions import HyperframeError

from .errors import ClosedBeforeSettings, HTTP2NotSupported, StreamAboveGoaway, StreamRefused
from .framing import FrameScanner, Http2State
from .headers import content_length, response_status
from .keepalive import Keepalive
from .sender import Sender
from .stream import Fields, Stream, TransportErrorType

if TYPE_CHECKING:
    from hyperframe.frame import GoAwayFrame

    from .settings import TransportSettings

__all__ = ["Connection"]

_HIGHEST_STREAM_ID = 2**31 - 1
_CLOSE_GRACE = 1.0  # seconds for a peer to take what is still to be sent at the end


class Connection(asyncio.BufferedProtocol):
    """An HTTP/2 connection as a client sees it.

    Args:
        settings: Sizes and limits.
        on_change: Called when streams may be opened that could not be before, and when
            the connection is no longer usable for new ones.
    """

    def __init__(
        self, settings: TransportSettings, on_change: Callable[[Connection], None]
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._h2 = Http2State(settings)
        self._scanner = FrameScanner(self, settings.max_frame_size)
        self._buffer = memoryview(bytearray(settings.read_buffer))
        self._buffered = 0  # bytes of a frame header that is not complete
        self._streams: dict[int, Stream] = {}
        self._reserved = 0  # places promised to requests that have not opened a stream
        self._next_stream_id = 1
        self._transport: asyncio.Transport | None = None
        self._draining = False
        self._end: tuple[TransportErrorType, str] | None = None
        self._sender = Sender(self._h2, settings)
        self._keepalive = Keepalive(settings, self, self._sender)
        self._handlers: dict[type, Callable[[Any], None]] = {
            h2.events.ResponseReceived: self._on_response,
            h2.events.InformationalResponseReceived: self._on_informational,
            h2.events.TrailersReceived: self._on_trailers,
            h2.events.StreamEnded: self._on_end,
            h2.events.StreamReset: self._on_reset,
            h2.events.WindowUpdated: self._on_window,
            h2.events.RemoteSettingsChanged: self._on_settings,
        }
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # Whether and how it can be used.

    @property
    def usable(self) -> bool:
        """Whether new streams may be opened, now or when there is room."""
        gone = self._draining or self._end is not None or self._transport is None
        return not gone and not self._keepalive.doubtful

    @property
    def room(self) -> int:
        """How many more streams may be opened now."""
        return max(0, self._limit - len(self._streams) - self._reserved) if self.usable else 0

    @property
    def _limit(self) -> int:
        peers: int = self._h2.remote_settings.max_concurrent_streams
        return min(self._settings.max_streams, peers)

    @property
    def busy(self) -> bool:
        """Whether there are streams, or places promised for them."""
        return bool(self._streams or self._reserved)

    def reserve(self) -> None:
        """Promise a place for a stream; `open` or `release` ends the promise."""
        self._reserved += 1

    def release(self) -> None:
        """Give a promised place back."""
        self._reserved -= 1
        self._changed()

    def open(self, fields: Fields, *, end_stream: bool) -> Stream | None:
        """Open a stream at a promised place; None when there is none any more.

        Between the promise and now the peer may have left, or lowered its limit.
        """
        self._reserved -= 1
        if not self.usable or len(self._streams) >= self._limit:
            self._changed()
            return None
        stream_id = self._next_stream_id
        self._h2.send_headers(stream_id, fields, end_stream=end_stream)
        self._next_stream_id += 2
        if self._next_stream_id > _HIGHEST_STREAM_ID:
            self._draining = True
        stream = Stream(stream_id, self)
        stream.sent_all = end_stream
        self._streams[stream_id] = stream
        self._sender.schedule()
        self._keepalive.became_busy()
        return stream

    # What streams ask for (StreamOwner).

    @property
    def heard_times(self) -> int:
        """Grows whenever something comes from the peer."""
        return self._keepalive.heard_times

    def doubt(self) -> None:
        """Open no stream here until something is heard of the peer, and ask for that."""
        self._keepalive.doubt()

    def sending_wanted(self, stream: Stream) -> None:
        """Send the stream's body when its turn comes."""
        if stream.stream_id in self._streams:
            self._sender.want(stream)

    def consumed(self, stream: Stream, length: int) -> None:
        """Let the peer send as much again."""
        if stream.stream_id in self._streams:
            self._h2.data_consumed(stream.stream_id, length)
            self._sender.schedule_if_needed()

    def abandon(self, stream: Stream) -> None:
        """Reset the stream unless it is over, so that the peer stops working for it."""
        if stream.stream_id in self._streams:
            self._reset(stream, ErrorCodes.CANCEL)

    def _reset(self, stream: Stream, code: ErrorCodes) -> None:
        if not self._h2.is_closed(stream.stream_id):
            self._h2.reset_stream(stream.stream_id, code)
            self._sender.schedule()
        self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        if self._streams.pop(stream.stream_id, None) is None:
            return
        self._sender.forget(stream)
        self._h2.forget(stream.stream_id)
        self._changed()

    def _changed(self) -> None:
        if not self.busy:
            if self._draining:
                self.close()
            else:
                self._keepalive.became_idle()
        self._on_change(self)

    # Reading (asyncio.BufferedProtocol).

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface."""
        # uvloop's transports have the same methods and another base class.
        self._transport = transport = cast("asyncio.Transport", transport)
        self._sender.start(transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Give the place where the next bytes go."""
        return self._buffer[self._buffered :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self._end is not None:
            return
        end, streams = self._buffered + nbytes, len(self._streams)
        self._keepalive.heard()
        try:
            used = self._scanner.feed(self._buffer[:end])
        except HTTP2NotSupported as error:
            self.fail(HTTP2NotSupported, str(error))
            return
        except (ProtocolError, HyperframeError) as error:
            self._protocol_error(error)
            return
        left = self._buffered = end - used
        if left:
            self._buffer[:left] = bytes(self._buffer[used:end])
        self._sender.schedule_if_needed()
        if end == len(self._buffer) and len(self._streams) < streams:
            self._give_way()

    def _give_way(self) -> None:
        """Let who waits for an answer go on before more is read.

        While reads fill the buffer, libuv reads on, up to 32 times (``uv__read``), before
        anything else runs: answers that come together would all be late by the last of them.
        """
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> None:
        """The peer will send nothing more: no stream can end any more."""
        self._hung_up(httpx.RemoteProtocolError, "the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        message = f"the connection was lost: {exc}" if exc else "the connection was closed"
        self.lost.set_result(None)
        self._hung_up(httpx.ReadError, message)

    def _hung_up(self, error: TransportErrorType, message: str) -> None:
        self.fail(error if self.ready.done() else ClosedBeforeSettings, message)

    def give_up(self) -> None:
        """Use nothing of a connection whose making was cancelled: its socket may be closed."""
        self._sender.stop()

    def _protocol_error(self, error: Exception) -> None:
        code = getattr(error, "error_code", ErrorCodes.PROTOCOL_ERROR)
        self._h2.abort(code)
        self._sender.flush()
        self.fail(httpx.RemoteProtocolError, str(error) or type(error).__name__)

    # What the scanner finds (FrameSink).

    def on_data(
        self, stream_id: int, payload: list[memoryview], *, padding: int, end_stream: bool
    ) -> None:
        """Keep the payload for the stream's reader."""
        stream = self._streams.get(stream_id)
        length = sum(map(len, payload))
        if stream is None:
            self._h2.data_discarded(stream_id, length + padding)
            return
        try:
            self._h2.data_received(stream_id, length, padding=padding, end_stream=end_stream)
        except InvalidBodyLengthError as error:
            self._stream_broken(stream, str(error))
            return
        if length:
            stream.data_came(payload, length)
        if end_stream:
            self._ended(stream)

    def on_control(self, frames: bytes) -> None:
        """Let h2 read what is neither DATA nor GOAWAY, and do what it says."""
        for event in self._h2.receive_data(frames):
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(event)

    def on_goaway(self, frame: GoAwayFrame) -> None:
        """Finish the streams that the peer still answers; fail the others."""
        self._draining = True
        message = f"the peer is going away (GOAWAY, code {frame.error_code})"
        for stream in [s for s in self._streams.values() if s.stream_id > frame.last_stream_id]:
            stream.failed(StreamAboveGoaway, message)
            self._reset(stream, ErrorCodes.CANCEL)
        self._changed()

    # Events of h2.

    def _on_response(self, event: h2.events.ResponseReceived) -> None:
        stream = self._streams.get(event.stream_id)
        status = None if stream is None else self._status_of(stream, event.headers)
        if stream is None or status is None:
            return
        fields = [field for field in event.headers if field[0] != b":status"]
        has_content = self._h2.has_content(event.stream_id, status)
        stream.head_came(status, fields, content_length(fields) if has_content else None)

    def _on_informational(self, event: h2.events.InformationalResponseReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None and self._status_of(stream, event.headers) is not None:
            stream.woken()

    def _status_of(self, stream: Stream, fields: Fields) -> int | None:
        """Read a head's status; one that is none breaks its stream, and no other."""
        try:
            return response_status(fields)
        except ValueError as error:
            self._stream_broken(stream, str(error))
            return None

    def _on_trailers(self, event: h2.events.TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.trailers.extend(event.headers)

    def _on_end(self, event: h2.events.StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._ended(stream)

    def _on_reset(self, event: h2.events.StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        if event.error_code == ErrorCodes.REFUSED_STREAM:
            stream.failed(StreamRefused, "the peer refused the stream")
        else:
            stream.failed(
                httpx.RemoteProtocolError, f"the peer reset the stream ({event.error_code!r})"
            )
        self._remove(stream)

    def _on_window(self, event: h2.events.WindowUpdated) -> None:
        if event.stream_id == 0:
            return  # all that wait for the connection's window are still in the queue
        stream = self._streams.get(event.stream_id)
        if stream is not None and stream.outgoing:
            self._sender.want(stream)

    def _on_settings(self, _: h2.events.RemoteSettingsChanged) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        # The windows of all streams may have grown.
        for stream in self._streams.values():
            if stream.outgoing:
                self._sender.want(stream)
        self._changed()

    def _ended(self, stream: Stream) -> None:
        # h2 counts what came as DATA, but not where the end comes with HEADERS.
        if stream.missing:
            self._stream_broken(stream, f"the answer's body lacks {stream.missing} bytes")
            return
        stream.end_came()
        # An answer that is complete ends the exchange: the rest of the request is moot.
        self._reset(stream, ErrorCodes.CANCEL)

    def _stream_broken(self, stream: Stream, message: str) -> None:
        stream.failed(httpx.RemoteProtocolError, message)
        self._reset(stream, ErrorCodes.PROTOCOL_ERROR)

    # Sending.

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._sender.pause()

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._sender.resume()

    def availability_changed(self) -> None:
        """The peer is in doubt, or no more."""
        self._on_change(self)

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        self._h2.ping(b"batchq\0\0")
        self._sender.schedule()

    # The end.

    def fail(self, error: TransportErrorType, message: str) -> None:
        """End the connection and all its streams with an error."""
        if self._end is None:
            self._end = (error, message)
        error, message = self._end
        if not self.ready.done():
            self.ready.set_exception(error(message))
            self.ready.exception()  # nobody may be left to look at it
        self._keepalive.stop()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(_CLOSE_GRACE, self._transport.abort)
        streams, self._streams = self._streams, {}
        self._sender.clear()
        for stream in streams.values():
            unsent = error is httpx.ReadError and not stream.sent_all
            stream.failed(httpx.WriteError if unsent else error, message)
        self._on_change(self)

    def close(self) -> None:
        """Say goodbye and end the connection; its streams fail."""
        if self._end is None:
            self._h2.abort(ErrorCodes.NO_ERROR)
            self._sender.flush()
        self.fail(httpx.ReadError, "the transport closed the connection while it was in use")
