"""Bytes from the socket cut into frames, the first half of a connection.

``receive`` acts on what the socket gave without waiting, and copies a byte at most once:
DATA goes to its stream in pieces as it comes, so that a frame may be larger than any
buffer. Which frame may come when is the business of ``Connection``; known here is only
what holds for all (RFC 9113 sections 3.4, 4 and 6.10).
"""

from __future__ import annotations

from h2.errors import ErrorCodes

from batchq.http2 import frames
from batchq.http2.frames import HEADER_SIZE, ConnectionFaultError, unpack_header
from batchq.http2.settings import Http2Settings
from batchq.http2.stream import Stream

_MOST_CONTINUATIONS = 64


class FrameReader:
    """The way in.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Http2Settings) -> None:
        self.settings = settings
        self.closed = False
        self.reads = 0  # how often something came
        self.bodies = 0  # how many have ended
        self._block_limit = max(2 * settings.max_header_list_size, 2**14)
        self._preface = frames.PREFACE
        self._settled = False  # the client's first SETTINGS has come
        self._target: Stream | None = None  # of the DATA frame that is coming in
        self._left = 0  # bytes of it that are to come
        self._skip = 0  # bytes to leave out after that
        self._ends = False  # it ends its stream
        self._block: list[bytes] = []  # a field block that CONTINUATIONs go on with
        self._block_stream = 0
        self._block_ends = False

    def receive(self, view: memoryview, end: int) -> int:
        """Act on the bytes of ``view`` up to ``end``; return how many were used up.

        The rest is the beginning of a frame: it is to come again with what follows it.
        """
        if self.closed:
            return end
        self.reads += 1
        try:
            return self._receive(view, end)
        except ConnectionFaultError as fault:
            self.finish(fault.code, fault.reason)
            return end

    def _receive(self, view: memoryview, end: int) -> int:
        pos = self._check_preface(view, end) if self._preface else 0
        while not self.closed:
            if self._left or self._skip:
                pos = self._data(view, pos, end)
                if self._left or self._skip:
                    return pos
            if self._ends:
                self._ends = False
                self.bodies += 1
                self.body_end(self._target)
            if end - pos < HEADER_SIZE:
                return pos
            after = self._frame(view, pos, end)
            if after == pos:
                return pos
            pos = after
        return end

    def _frame(self, view: memoryview, pos: int, end: int) -> int:
        """Act on the frame at ``pos``; return where it went on to, or ``pos`` to wait."""
        high, low, kind, flags, stream_id = unpack_header(view, pos)
        length: int = high << 8 | low
        stream_id &= frames.HIGHEST_STREAM
        start = pos + HEADER_SIZE
        if length > self.settings.max_frame_size:
            raise ConnectionFaultError(ErrorCodes.FRAME_SIZE_ERROR, "frame too large")
        if kind == frames.DATA and not self._block and self._settled:
            padding = 0
            if flags & frames.PADDED:
                if start >= end:
                    return pos
                padding = int(view[start])
                start += 1
            self.data_header(stream_id, length, flags, padding)
            return start
        if kind > frames.CONTINUATION:
            self._unknown(length)
            return start
        if length > self._block_limit:
            raise ConnectionFaultError(ErrorCodes.ENHANCE_YOUR_CALM, "control frame too large")
        if start + length > end:
            return pos
        self._act(kind, flags, stream_id, bytes(view[start : start + length]))
        return start + length

    def _check_preface(self, view: memoryview, end: int) -> int:
        size = min(len(self._preface), end)
        if view[:size] != self._preface[:size]:
            raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "no HTTP/2 preface")
        self._preface = self._preface[size:]
        return size

    def _data(self, view: memoryview, pos: int, end: int) -> int:
        """Hand over what is here of a DATA frame's body, and leave its padding out."""
        stop = min(pos + self._left, end)
        size = stop - pos
        if size:
            self._left -= size
            stream = self._target
            if stream is None:
                self.give_back(size)
            elif not stream.body.feed(bytes(view[pos:stop])):
                self.reset(stream, ErrorCodes.PROTOCOL_ERROR)
        if self._skip and not self._left:
            jump = min(self._skip, end - stop)
            self._skip -= jump
            stop += jump
        return stop

    def _unknown(self, length: int) -> None:
        if self._block or not self._settled:
            raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "unknown frame out of place")
        self.charge()
        self._target = None
        self._skip = length

    def _act(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block and (kind != frames.CONTINUATION or stream_id != self._block_stream):
            raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "a field block was interrupted")
        if not self._settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "SETTINGS must come first")
            self._settled = True
        if kind == frames.HEADERS:
            self._headers(flags, stream_id, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, payload)
        else:
            self.control(kind, flags, stream_id, payload)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "HEADERS on a server's stream")
        block = frames.strip_padding(payload, flags)
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self.fields(stream_id, block, ends=ends)
        else:
            self._block = [block]
            self._block_stream = stream_id
            self._block_ends = ends

    def _continuation(self, flags: int, payload: bytes) -> None:
        if not self._block:
            raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self.charge()
        self._block.append(payload)
        if sum(map(len, self._block)) > self._block_limit or len(self._block) > _MOST_CONTINUATIONS:
            raise ConnectionFaultError(ErrorCodes.ENHANCE_YOUR_CALM, "field block too large")
        if flags & frames.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self.fields(self._block_stream, block, ends=self._block_ends)

    # --- what the connection does with them ---------------------------------------

    def data_header(self, stream_id: int, length: int, flags: int, padding: int) -> None:
        """A DATA frame begins."""
        raise NotImplementedError

    def body_end(self, stream: Stream | None) -> None:
        """A request is complete."""
        raise NotImplementedError

    def fields(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        """A field block is complete."""
        raise NotImplementedError

    def control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """A frame of any other kind has come."""
        raise NotImplementedError

    def give_back(self, size: int) -> None:
        """Bytes were dropped: let the client send as many again."""
        raise NotImplementedError

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream by an error."""
        raise NotImplementedError

    def charge(self, cost: float = 1.0) -> None:
        """Charge a frame that neither asks nor brings anything."""
        raise NotImplementedError

    def finish(self, code: ErrorCodes, reason: str) -> None:
        """End the connection."""
        raise NotImplementedError
