"""Frames and windows: h2 decides, DATA's bytes go past it.

h2 keeps every state, but its way of moving DATA copies each frame several times and
formats it for a log that is off. Here DATA is cut out of what was read, and framed for
what is sent, without h2 seeing the bytes; h2 is told the lengths, so that its windows,
stream states and Content-Length checks stay exact. This file alone uses names of h2 that
are not in its documentation.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol, cast

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamInputs, StreamState
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, WindowUpdateFrame

from .errors import HTTP2NotSupported

if TYPE_CHECKING:
    from .settings import TransportSettings

__all__ = ["FrameScanner", "FrameSink", "Http2State"]

FRAME_HEADER_SIZE = 9
_HEADER = struct.Struct(">HBBBL")
_DATA, _HEADERS, _PUSH_PROMISE, _GOAWAY, _CONTINUATION = 0, 1, 5, 7, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_BLOCK_STARTS = frozenset({_HEADERS, _PUSH_PROMISE})
_STREAM_ID_MASK = 0x7FFF_FFFF
_TLS_ALERT = b"\x15\x03"
_ENDED_BY_PEER = frozenset({StreamState.HALF_CLOSED_REMOTE, StreamState.CLOSED})
# Answers that have no content, whatever their Content-Length says (RFC 9110, section 6.4.1).
_NO_CONTENT = frozenset({204, 304})


class Http2State(H2Connection):
    """h2's client connection, with lengths of DATA accounted apart from their bytes."""

    def __init__(self, settings: TransportSettings) -> None:
        # Fields are checked and normalised before they come here.
        config = H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        super().__init__(config)
        # Given as initial values, the settings hold from the first byte on: the peer
        # reads them before anything else of ours.
        self.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: settings.stream_window,
                SettingCodes.MAX_FRAME_SIZE: settings.max_frame_size,
                SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_header_list_size,
            },
        )
        # h2's defaults for these two are no good for a client: they concern pushes and
        # WebSockets.
        del self.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
        self.max_inbound_frame_size = settings.max_frame_size
        self.decoder.max_header_list_size = settings.max_header_list_size
        self.initiate_connection()
        more = settings.connection_window - 65_535  # what a connection starts with
        if more:
            self.increment_flow_control_window(more)

    @property
    def open_outbound_streams(self) -> int:
        """How many streams are open; h2's own walks them all for each new one."""
        return len(self.streams)

    @property
    def has_output(self) -> bool:
        """Whether h2 has frames to be sent."""
        return bool(self._data_to_send)

    def forget(self, stream_id: int) -> None:
        """Drop a closed stream; how it closed is remembered for late frames."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._closed_streams[stream_id] = stream.closed_by

    def is_closed(self, stream_id: int) -> bool:
        """Whether both sides have ended the stream, or one has reset it."""
        stream = self.streams.get(stream_id)
        return stream is None or bool(stream.closed)

    def has_content(self, stream_id: int, status: int) -> bool:
        """Whether an answer's Content-Length tells how much of a body comes."""
        return status not in _NO_CONTENT and self.streams[stream_id].request_method != b"HEAD"

    def data_received(
        self, stream_id: int, length: int, *, padding: int = 0, end_stream: bool
    ) -> None:
        """Account for DATA on an open stream, kept by the caller.

        Args:
            stream_id: The stream.
            length: Of the payload, which is given back as it is read (`data_consumed`).
            padding: What the windows lost beside it; given back here.
            end_stream: Whether these are the answer's last.

        Raises:
            ProtocolError: The peer broke its window, or the stream's state.
            InvalidBodyLengthError: The stream's Content-Length is not what came.
        """
        self._connection_data_received(length + padding)
        # h2 asks only for the length of the payload.
        payload = cast("bytes", range(length))
        self.streams[stream_id].receive_data(payload, end_stream, length + padding)
        self.data_consumed(stream_id, padding)

    def data_discarded(self, stream_id: int, length: int) -> None:
        """Account for DATA of a stream that was reset before the peer knew.

        Raises:
            ProtocolError: The stream was not reset: nothing may come on it.
        """
        if not self._stream_is_closed_by_reset(stream_id):
            msg = f"DATA on stream {stream_id}, which is not open"
            raise ProtocolError(msg)
        self._connection_data_received(length)

    def _connection_data_received(self, length: int) -> None:
        self.state_machine.process_input(ConnectionInputs.RECV_DATA)
        self._inbound_flow_control_window_manager.window_consumed(length)
        # A slow reader holds its own stream's window, not the connection's.
        increment = self._inbound_flow_control_window_manager.process_bytes(length)
        if increment:
            self._prepare_for_sending([WindowUpdateFrame(0, increment)])

    def data_consumed(self, stream_id: int, length: int) -> None:
        """Give window back to a stream whose data was read; sent in steps of half a window.

        One that the peer has ended needs none.
        """
        stream = self.streams.get(stream_id)
        if length and stream and stream.state_machine.state not in _ENDED_BY_PEER:
            self._prepare_for_sending(stream.acknowledge_received_data(length))

    def send_allowance(self, stream_id: int) -> int:
        """How many bytes of DATA may be sent now; negative after the peer shrank its window."""
        return int(
            min(
                self.outbound_flow_control_window,
                self.streams[stream_id].outbound_flow_control_window,
            )
        )

    def frame_data(
        self, stream_id: int, payload: memoryview, *, end_stream: bool
    ) -> list[bytes | memoryview]:
        """Account for DATA to be sent and give its frames, without copying.

        Args:
            stream_id: The stream.
            payload: At most `send_allowance` bytes; may be empty.
            end_stream: Whether these are the request's last.

        Raises:
            ProtocolError: The stream is not open for sending.
        """
        stream = self.streams[stream_id]
        self.state_machine.process_input(ConnectionInputs.SEND_DATA)
        stream.state_machine.process_input(StreamInputs.SEND_DATA)
        if end_stream:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        length = len(payload)
        self.outbound_flow_control_window -= length
        stream.outbound_flow_control_window -= length
        frames: list[bytes | memoryview] = []
        size = self.max_outbound_frame_size
        start = 0
        while True:
            piece = payload[start : start + size]
            start += size
            last = start >= length
            flags = _END_STREAM if last and end_stream else 0
            count = len(piece)
            frames.append(_HEADER.pack(count >> 8, count & 0xFF, _DATA, flags, stream_id))
            if count:
                frames.append(piece)
            if last:
                return frames

    def abort(self, code: ErrorCodes) -> None:
        """Say GOAWAY, unless h2 has done so; nothing else can be sent afterwards."""
        if self.state_machine.state is not ConnectionState.CLOSED:
            self.close_connection(error_code=code)


class FrameSink(Protocol):
    """What a scanner hands its findings to, in the order they came."""

    def on_data(
        self, stream_id: int, payload: list[memoryview], *, padding: int, end_stream: bool
    ) -> None:
        """Take DATA of one stream: the views are valid only during the call.

        Args:
            stream_id: The stream.
            payload: What came, in pieces; may be empty.
            padding: Bytes that came beside it, and count in the windows alone.
            end_stream: Whether the stream ends with it.
        """

    def on_control(self, frames: bytes) -> None:
        """Take other frames, for h2; the last may be a part, whose rest comes next."""

    def on_goaway(self, frame: GoAwayFrame) -> None:
        """Take a GOAWAY. h2 would end the connection there, its open streams included."""


class FrameScanner:
    """Cuts what was read into runs of DATA for one stream and frames for h2.

    DATA is handed on as it arrives, also when its frame is not complete yet, and what one
    read brought for a stream is one run, unless another kind of frame came in between.
    """

    def __init__(self, sink: FrameSink, max_frame_size: int) -> None:
        self._sink = sink
        self._max_frame_size = max_frame_size
        self._missing = 0  # bytes of the current frame's payload that have not come
        self._is_data = False
        self._end_stream = False
        self._in_header_block = False
        self._whole: bytearray | None = None  # a frame that is read here once it is complete
        # What this read brought and the sink has not got: DATA by stream, or other frames;
        # one of the two is always empty, so that the order is kept.
        self._runs: dict[int, list[memoryview]] = {}
        self._control: list[memoryview] = []
        self._run_stream = 0
        self._started = False

    def feed(self, view: memoryview) -> int:
        """Take what was read; give how much was used. Less than a frame header is left.

        Raises:
            HTTP2NotSupported: The peer did not begin with SETTINGS.
            FrameTooLargeError: A frame is larger than was advertised.
            ProtocolError: What the sink found wrong.
        """
        if not self._started:
            _check_preface(bytes(view[:FRAME_HEADER_SIZE]))
            self._started = len(view) >= FRAME_HEADER_SIZE
        position, end = 0, len(view)
        while True:
            if self._missing:
                piece = view[position : position + self._missing]
                self._missing -= len(piece)
                position += len(piece)
                self._take(piece)
                if self._missing:
                    break
                self._frame_ended()
            if end - position < FRAME_HEADER_SIZE:
                break
            header = view[position : position + FRAME_HEADER_SIZE]
            position += FRAME_HEADER_SIZE
            self._begin_frame(header)
            if not self._missing:
                self._frame_ended()
        self._flush()
        return position

    def _begin_frame(self, header: memoryview) -> None:
        high, low, kind, flags, stream_id = _HEADER.unpack(header)
        length = (high << 8) | low
        stream_id &= _STREAM_ID_MASK
        if length > self._max_frame_size:
            self._flush()
            msg = f"the peer sent a frame of {length} bytes; {self._max_frame_size} were allowed"
            raise FrameTooLargeError(msg)
        self._missing = length
        # DATA inside a header block or of no stream is an error that h2 names.
        is_data = kind == _DATA and stream_id and not self._in_header_block
        if is_data and not flags & _PADDED:
            self._flush_control()
            self._run_stream = stream_id
            self._is_data = True
            self._end_stream = bool(flags & _END_STREAM)
            return
        self._flush_data()
        self._is_data = False
        if is_data or (kind == _GOAWAY and not self._in_header_block):
            self._flush_control()
            self._whole = bytearray(header)
            return
        if kind in _BLOCK_STARTS or kind == _CONTINUATION:
            self._in_header_block = not flags & _END_HEADERS
        self._control.append(header)

    def _take(self, piece: memoryview) -> None:
        if self._is_data:
            self._runs.setdefault(self._run_stream, []).append(piece)
        elif self._whole is not None:
            self._whole += piece
        else:
            self._control.append(piece)

    def _frame_ended(self) -> None:
        if self._is_data:
            if self._end_stream:
                stream_id = self._run_stream
                run = self._runs.pop(stream_id, [])
                self._sink.on_data(stream_id, run, padding=0, end_stream=True)
        elif self._whole is not None:
            whole, self._whole = memoryview(bytes(self._whole)), None
            frame, _ = Frame.parse_frame_header(whole[:FRAME_HEADER_SIZE])
            frame.parse_body(whole[FRAME_HEADER_SIZE:])
            self._hand_on(frame)

    def _hand_on(self, frame: Frame) -> None:
        if isinstance(frame, GoAwayFrame):
            self._sink.on_goaway(frame)
        elif isinstance(frame, DataFrame):
            self._sink.on_data(
                frame.stream_id,
                [memoryview(frame.data)],
                padding=frame.flow_controlled_length - len(frame.data),
                end_stream="END_STREAM" in frame.flags,
            )

    def _flush(self) -> None:
        self._flush_data()
        self._flush_control()

    def _flush_control(self) -> None:
        if self._control:
            control, self._control = self._control, []
            self._sink.on_control(b"".join(control))

    def _flush_data(self) -> None:
        if self._runs:
            runs, self._runs = self._runs, {}
            for stream_id, run in runs.items():
                self._sink.on_data(stream_id, run, padding=0, end_stream=False)


def _check_preface(start: bytes) -> None:
    """See whether a peer's first bytes, as far as they have come, begin HTTP/2.

    The server's connection preface is a SETTINGS frame (RFC 9113, section 3.4).

    Raises:
        HTTP2NotSupported: They are something else.
    """
    high, kind, flags = start[:1], start[3:4], start[4:5]
    if high in (b"", b"\0") and kind in (b"", b"\4") and not (flags and flags[0] & _ACK):
        return
    hint = ", as TLS does (https://)" if start.startswith(_TLS_ALERT) else ""
    msg = f"the peer does not speak HTTP/2: it began with {start!r}{hint}"
    raise HTTP2NotSupported(msg)
