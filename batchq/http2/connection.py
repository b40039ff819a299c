"""The rules of one connection: which frames may come when, and what they do.

It knows no sockets, and no event loop but for what the sender schedules; time comes from
``now``. Nothing here waits: a connection is always read, and windows bound what it holds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable
from typing import Any, Protocol

from h2.errors import ErrorCodes
from hypercorn.config import Config

from batchq.http2 import frames
from batchq.http2.budget import Budget
from batchq.http2.control import ControlFrames
from batchq.http2.frames import ConnectionFaultError
from batchq.http2.headers import (
    NO_DYNAMIC_TABLE,
    MalformedRequestError,
    RequestDecoder,
    RequestHead,
    encode_fields,
)
from batchq.http2.inflight import InFlight
from batchq.http2.reader import FrameReader
from batchq.http2.sender import Sender
from batchq.http2.settings import DEFAULT_WINDOW, Http2Settings
from batchq.http2.stream import Refusal, Stream, bare


class Host(Protocol):
    """What a connection needs of the world.

    Attributes:
        inflight: counts the bodies that are not complete, of all connections.
    """

    inflight: InFlight

    def call_app(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        """Run the application on a request."""

    def start(self, stream: Stream) -> None:
        """Run a stream's handler in a task."""

    def now(self) -> float:
        """Return the reading of a monotonic clock in seconds."""

    def over(self) -> None:
        """The connection has nothing left to do."""


# Streams that we have reset: what the client had already sent on them is no fault.
_REMEMBERED_RESETS = 1024


class Connection(FrameReader):
    """What both sides have said so far.

    Args:
        settings: the limits.
        config: Hypercorn's, for logs, the ``Date`` and ``Server`` fields and host names.
        sender: the way out.
        host: runs handlers, tells the time, closes.
    """

    def __init__(self, settings: Http2Settings, config: Config, sender: Sender, host: Host) -> None:
        super().__init__(settings)
        self.config = config
        self.sender = sender
        self.call_app = host.call_app
        self.now = now = host.now
        self.scheme = "http"
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self.state: dict[str, Any] = {}
        self.refusal: Refusal = bare
        self.logs_access = config.accesslog is not None or config.statsd_host is not None
        self.inflight = host.inflight
        self.pool = host.inflight.pool()
        self.streams: dict[int, Stream] = {}
        self.handlers = 0  # tasks of the application, also of streams that are over
        self.highest = 0  # the last stream that was opened
        self.draining = False
        self.idle_since = now()
        self._start = host.start
        self._over = host.over
        self._decoder = RequestDecoder(settings.max_header_list_size)
        self._resets = Budget(settings.reset_burst, settings.reset_rate, now())
        self._refusals = Budget(settings.refusal_burst, settings.refusal_rate, now())
        self._control_budget = Budget(settings.control_burst, settings.control_rate, now())
        self._reset_here: OrderedDict[int, None] = OrderedDict()
        self._prefix = NO_DYNAMIC_TABLE
        self._common = b""
        self._common_until = 0.0
        self._window = settings.connection_window
        self._taken = 0
        self._step = settings.connection_window // 4
        self._control_frames = ControlFrames(self)
        self._upgraded: RequestHead | None = None  # waits for the client's preface

    def open(self) -> None:
        """Send our SETTINGS and open the connection's window."""
        settings = self.settings
        self.sender.write(
            frames.settings(
                {
                    frames.SETTINGS_ENABLE_PUSH: 0,
                    frames.SETTINGS_MAX_CONCURRENT_STREAMS: settings.max_concurrent_streams,
                    frames.SETTINGS_INITIAL_WINDOW_SIZE: settings.stream_window,
                    frames.SETTINGS_MAX_FRAME_SIZE: settings.max_frame_size,
                    frames.SETTINGS_MAX_HEADER_LIST_SIZE: settings.max_header_list_size,
                }
            )
        )
        more = settings.connection_window - DEFAULT_WINDOW
        if more:
            self.sender.write(frames.window_update(0, more))

    # --- the way in --------------------------------------------------------------

    def data_header(self, stream_id: int, length: int, flags: int, padding: int) -> None:
        """Check a DATA frame against the windows and say where it goes."""
        self._window -= length
        if self._window < 0:
            raise ConnectionFaultError(ErrorCodes.FLOW_CONTROL_ERROR, "connection window exceeded")
        stream = self._data_stream(stream_id, length)
        self._target = stream
        self._left = length
        self._ends = bool(flags & frames.END_STREAM)
        if flags & frames.PADDED:
            if padding >= length:
                raise ConnectionFaultError(
                    ErrorCodes.PROTOCOL_ERROR, "padding as long as the frame"
                )
            self._left = length - 1 - padding
            self._skip = padding
            if stream is not None:
                stream.body.give_back(padding + 1)
            else:
                self.give_back(padding + 1)
        if not self._left and not self._ends:
            self.charge()
        if stream is not None and stream.over:
            self._drain_body(stream)

    def _data_stream(self, stream_id: int, length: int) -> Stream | None:
        """Return the stream that takes the frame; None when it is to be dropped."""
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id > self.highest or not stream_id & 1:
                raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "DATA on an idle stream")
            if stream_id not in self._reset_here:
                self.refuse_stream(stream_id, ErrorCodes.STREAM_CLOSED)
            return None
        body = stream.body
        if body.done:
            self.reset(stream, ErrorCodes.STREAM_CLOSED)
            return None
        body.window -= length
        if body.window < 0:
            self.reset(stream, ErrorCodes.FLOW_CONTROL_ERROR)
            return None
        return stream

    def _drain_body(self, stream: Stream) -> None:
        """Take the rest of a body that was answered early, up to a limit."""
        if stream.body.dropped > self.settings.early_answer_drain:
            self.reset(stream, ErrorCodes.NO_ERROR, blame=False)
            self._target = None

    def body_end(self, stream: Stream | None) -> None:
        """A request is complete."""
        if stream is None or stream.body.gone:
            return
        if not stream.body.finish():
            self.reset(stream, ErrorCodes.PROTOCOL_ERROR)
        elif stream.over:
            self._forget(stream)

    def fields(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        """Act on a whole field block: a request, or trailers."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._decoder.discard(block)
            if stream.body.done or not ends:
                self.reset(stream, ErrorCodes.STREAM_CLOSED if ends else ErrorCodes.PROTOCOL_ERROR)
            else:
                self.body_end(stream)
            return
        if stream_id <= self.highest:
            self._decoder.discard(block)
            if stream_id not in self._reset_here:
                raise ConnectionFaultError(ErrorCodes.STREAM_CLOSED, "HEADERS on a closed stream")
            return
        self.highest = stream_id
        try:
            head = self._decoder.request(block)
        except MalformedRequestError:
            self.refuse_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        self.request(stream_id, head, ended=ends)

    def control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Act on a frame that is neither DATA nor part of a field block."""
        self._control_frames.handle(kind, flags, stream_id, payload)
        if self._upgraded is not None:
            head, self._upgraded = self._upgraded, None
            self.request(1, head, ended=True)

    # --- requests ----------------------------------------------------------------

    def request(self, stream_id: int, head: RequestHead, *, ended: bool) -> None:
        """Open a stream for a request and start its handler, or refuse it."""
        most = self.settings.max_concurrent_streams
        # Handlers of cancelled requests may still run: they count too (CVE-2023-44487).
        if self.draining or len(self.streams) >= most or self.handlers >= 2 * most:
            self._refuse_request(stream_id)
            return
        stream = Stream(self, stream_id, head, ended=ended)
        self.streams[stream_id] = stream
        if ended and head.content_length > 0:
            self.reset(stream, ErrorCodes.PROTOCOL_ERROR)
        elif head.oversize:
            stream.refuse(431)
        elif head.method == "CONNECT":
            stream.refuse(501)
        elif self.config.server_names and not self._known_host(head):
            stream.refuse(404)
        else:
            self.handlers += 1
            self._start(stream)

    def uploads(self) -> bool:
        """Whether a body is coming in."""
        return any(not stream.body.done for stream in self.streams.values())

    def _known_host(self, head: RequestHead) -> bool:
        return head.fields[0][1].decode("latin-1") in self.config.server_names

    def answered(self, stream: Stream) -> None:
        """The last frame of an answer is out."""
        if stream.body.done:
            self._forget(stream)
        else:
            stream.buffer.since = self.now()
            stream.body.drop()

    def reset(self, stream: Stream, code: ErrorCodes, *, blame: bool = True) -> None:
        """End a stream; ``blame`` charges it to the client's budget."""
        if self.streams.pop(stream.id, None) is None:
            return
        stream.abort()
        if blame:
            self.refuse_stream(stream.id, code)
        else:
            self._write_reset(stream.id, code)
        self._stream_gone()

    def refuse_stream(self, stream_id: int, code: ErrorCodes) -> None:
        """Send RST_STREAM for what the client did.

        Raises:
            ConnectionFaultError: it did so too often.
        """
        self.charge_reset()
        self._write_reset(stream_id, code)

    def _refuse_request(self, stream_id: int) -> None:
        # No cost as of a reset: the request is not begun, and to ask again is what it is for.
        if not self._refusals.spend(self.now()):
            raise ConnectionFaultError(ErrorCodes.ENHANCE_YOUR_CALM, "too many refused requests")
        self._write_reset(stream_id, ErrorCodes.REFUSED_STREAM)

    def cancelled(self, stream: Stream) -> None:
        """The client has reset a stream."""
        del self.streams[stream.id]
        stream.abort()
        self._stream_gone()

    def _write_reset(self, stream_id: int, code: ErrorCodes) -> None:
        self._reset_here[stream_id] = None
        if len(self._reset_here) > _REMEMBERED_RESETS:
            self._reset_here.popitem(last=False)
        self.sender.write(frames.rst_stream(stream_id, code))

    def _forget(self, stream: Stream) -> None:
        """A stream is complete on both sides."""
        del self.streams[stream.id]
        stream.body.abort()
        self._stream_gone()

    def _stream_gone(self) -> None:
        if not self.streams:
            self.idle_since = self.now()
            if self.draining:
                self.finish()

    # --- budgets and windows -----------------------------------------------------

    def charge(self, cost: float = 1.0) -> None:
        """Charge a frame that neither asks nor brings anything.

        Raises:
            ConnectionFaultError: there were too many.
        """
        if not self._control_budget.spend(self.now(), cost):
            raise ConnectionFaultError(ErrorCodes.ENHANCE_YOUR_CALM, "too many control frames")

    def charge_reset(self) -> None:
        """Charge a request that came to nothing by the client's doing.

        Raises:
            ConnectionFaultError: there were too many.
        """
        if not self._resets.spend(self.now()):
            raise ConnectionFaultError(ErrorCodes.ENHANCE_YOUR_CALM, "too many resets")

    def give_back(self, size: int) -> None:
        """Let the client send ``size`` more bytes on the connection, told in big steps."""
        self._taken += size
        if self._taken >= self._step:
            self._window += self._taken
            self.sender.write(frames.window_update(0, self._taken))
            self._taken = 0

    # --- answers -----------------------------------------------------------------

    def common_fields(self) -> bytes:
        """Return the encoded fields that every answer carries (``Date``, ``Server``)."""
        now = self.now()
        if now >= self._common_until:
            self._common = encode_fields(self.config.response_headers("h2"))
            self._common_until = now + 1.0
        return self._common

    def headers_frame(self, stream_id: int, block: bytes, flags: int) -> bytes:
        """Return the frames of a field block."""
        if self._prefix:
            block, self._prefix = self._prefix + block, b""
        return frames.header_block(stream_id, block, flags, self.sender.max_frame_size)

    def send_headers(self, stream_id: int, block: bytes, flags: int) -> None:
        """Send a field block."""
        self.sender.write(self.headers_frame(stream_id, block, flags))

    def upgrade(self, payload: bytes, head: RequestHead) -> None:
        """Take on the settings and the request of an upgrade (RFC 7540 section 3.2.1).

        The request is answered once the client has sent its preface: curl can't take much
        that comes together with the 101.
        """
        self.highest = 1
        self._upgraded = head
        try:
            self._control_frames.apply(payload)
        except ConnectionFaultError as fault:
            self.finish(fault.code, fault.reason)

    # --- the end -----------------------------------------------------------------

    def drain(self) -> None:
        """Take no new streams; finish those that are open, then the connection.

        New streams are refused, which is safe to send again. GOAWAY comes when the open
        ones are done, not before: h2, and so stock httpx, takes no frame after it and would
        lose their answers, although RFC 9113 section 6.8 lets them come.
        """
        self.draining = True
        if not self.streams:
            self.finish()

    def client_leaves(self) -> None:
        """The client opens no more streams: finish when all are answered."""
        self.draining = True
        if not self.streams:
            self.finish()

    def finish(self, code: ErrorCodes = ErrorCodes.NO_ERROR, reason: str = "") -> None:
        """Send GOAWAY and release everything."""
        if self.closed:
            return
        self.sender.write(frames.goaway(self.highest, code, reason))
        self.lost()
        self._over()

    def lost(self) -> None:
        """The connection is gone: tell every handler."""
        self.closed = True
        self.draining = True
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.abort()
