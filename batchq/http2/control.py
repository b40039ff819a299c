"""Frames that carry neither requests nor data: SETTINGS, windows, resets, PING, GOAWAY."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from batchq.http2 import frames
from batchq.http2.frames import ConnectionFaultError
from batchq.http2.settings import MAX_FRAME_SIZE, MAX_WINDOW, MIN_FRAME_SIZE

if TYPE_CHECKING:
    from batchq.http2.connection import Connection

# A change of the initial window walks over all streams; so many cost one more token.
_STREAMS_A_TOKEN = 64

_Handler = Callable[[int, int, bytes], None]


class ControlFrames:
    """What such frames do to a connection.

    Args:
        connection: the one they came on.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._handlers: dict[int, _Handler] = {
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._rst_stream,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
        }

    def handle(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Act on one frame.

        Raises:
            ConnectionFaultError: it breaks the rules for the connection.
        """
        self._handlers[kind](flags, stream_id, payload)

    def _priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        # RFC 9113 section 5.3.2: the scheme is no more, the frame is ignored.
        self._connection.charge()
        if not stream_id or len(payload) != 5:
            raise ConnectionFaultError(ErrorCodes.FRAME_SIZE_ERROR, "malformed PRIORITY")

    def _rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _expect_length(payload, 4, "RST_STREAM")
        connection = self._connection
        self._check_not_idle(stream_id)
        connection.charge_reset()
        stream = connection.streams.get(stream_id)
        if stream is not None:
            connection.cancelled(stream)

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _expect_connection(stream_id, "SETTINGS")
        connection = self._connection
        connection.charge()
        if flags & frames.ACK:
            _expect_length(payload, 0, "an acknowledgement of SETTINGS")
            return
        self.apply(payload)
        connection.sender.write(frames.SETTINGS_ACK)

    def apply(self, payload: bytes) -> None:
        """Take the client's settings on.

        Raises:
            ConnectionFaultError: one has a value that is not allowed.
        """
        for key, value in frames.parse_settings(payload):
            self._apply(key, value)

    def _apply(self, key: int, value: int) -> None:
        sender = self._connection.sender
        if key == frames.SETTINGS_INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFaultError(ErrorCodes.FLOW_CONTROL_ERROR, "initial window")
            self._initial_window(value)
        elif key == frames.SETTINGS_MAX_FRAME_SIZE:
            if not MIN_FRAME_SIZE <= value <= MAX_FRAME_SIZE:
                raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "maximum frame size")
            sender.max_frame_size = value
        elif key == frames.SETTINGS_ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "enable push")

    def _initial_window(self, value: int) -> None:
        connection = self._connection
        sender = connection.sender
        change = value - sender.initial_window
        if not change:
            return
        connection.charge(len(connection.streams) / _STREAMS_A_TOKEN)
        sender.initial_window = value
        for stream in connection.streams.values():
            stream.buffer.window += change
            if stream.buffer.window > MAX_WINDOW:
                raise ConnectionFaultError(ErrorCodes.FLOW_CONTROL_ERROR, "window too large")
            sender.offer(stream.buffer)

    def _push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "PUSH_PROMISE by a client")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _expect_connection(stream_id, "PING")
        _expect_length(payload, 8, "PING")
        connection = self._connection
        connection.charge()
        if not flags & frames.ACK:
            connection.sender.write(frames.ping(payload, ack=True))

    def _goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _expect_connection(stream_id, "GOAWAY")
        if len(payload) < 8:
            raise ConnectionFaultError(ErrorCodes.FRAME_SIZE_ERROR, "short GOAWAY")
        self._connection.charge()
        self._connection.client_leaves()

    def _window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _expect_length(payload, 4, "WINDOW_UPDATE")
        increment = frames.unpack_u32(payload)[0] & MAX_WINDOW
        connection = self._connection
        sender = connection.sender
        if not stream_id:
            sender.window += increment
            if not increment or sender.window > MAX_WINDOW:
                raise ConnectionFaultError(_window_error(increment), "connection window")
            sender.schedule()
            return
        self._check_not_idle(stream_id)
        stream = connection.streams.get(stream_id)
        if stream is None:
            return
        stream.buffer.window += increment
        if not increment or stream.buffer.window > MAX_WINDOW:
            connection.reset(stream, _window_error(increment))
        else:
            sender.offer(stream.buffer)

    def _check_not_idle(self, stream_id: int) -> None:
        if stream_id > self._connection.highest or not stream_id & 1:
            raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "a frame on an idle stream")


def _window_error(increment: int) -> ErrorCodes:
    return ErrorCodes.FLOW_CONTROL_ERROR if increment else ErrorCodes.PROTOCOL_ERROR


def _expect_connection(stream_id: int, what: str) -> None:
    if stream_id:
        raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, f"{what} on a stream")


def _expect_length(payload: bytes, length: int, what: str) -> None:
    if len(payload) != length:
        raise ConnectionFaultError(ErrorCodes.FRAME_SIZE_ERROR, f"length of {what}")
