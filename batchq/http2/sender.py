"""What goes out: control frames at once, answers in turns, all in few large writes.

Streams that have data and window stand in a queue and send one quantum each in turn;
a stream that lacks either is in no queue, so that thousands of waiting streams cost
nothing. Answers are sliced, not copied, on their way to the transport.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from batchq.http2 import frames
from batchq.http2.settings import DEFAULT_WINDOW, MIN_FRAME_SIZE, Http2Settings

Buffer = bytes | memoryview

# Below this many bytes one joined write is cheaper than a list of buffers.
_JOIN_BELOW = 32 * 1024


class SendBuffer:
    """The part of one answer that is not sent.

    Args:
        stream_id: whose answer it is.
        window: bytes that the client takes on this stream.
        sent: called when the last frame of the answer is out.
    """

    __slots__ = (
        "_room",
        "_room_at",
        "chunks",
        "ended",
        "offset",
        "queued",
        "sent",
        "since",
        "size",
        "stream_id",
        "window",
    )

    def __init__(self, stream_id: int, window: int, sent: Callable[[], None]) -> None:
        self.stream_id = stream_id
        self.window = window
        self.chunks: deque[memoryview] = deque()
        self.offset = 0  # bytes of chunks[0] that are out
        self.size = 0
        self.ended = False
        self.queued = False
        self.since = 0.0  # when a byte of it last went out, or it got its first
        self.sent = sent
        self._room: asyncio.Future[None] | None = None
        self._room_at = 0

    async def room(self, size: int) -> None:
        """Wait until at most ``size`` bytes are unsent."""
        while self.size > size:
            self._room_at = size
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    def wake(self) -> None:
        """Let the application go on if there is room."""
        if self._room is not None and self.size <= self._room_at and not self._room.done():
            self._room.set_result(None)

    def clear(self) -> None:
        """Forget what is unsent: the client does not want it."""
        self.chunks.clear()
        self.size = 0
        self.ended = False
        self.wake()


class Sender:
    """One connection's way out.

    Args:
        settings: the limits.
        loop: where writes are put off to, so that those of one turn are joined.
        overflow: called when a client that does not read has filled ``write_backlog``.
    """

    __slots__ = (
        "_loop",
        "_out",
        "_out_size",
        "_overflow",
        "_ready",
        "_scheduled",
        "_settings",
        "_transport",
        "_vectored",
        "blocked",
        "blocked_since",
        "initial_window",
        "max_frame_size",
        "window",
    )

    def __init__(
        self,
        settings: Http2Settings,
        loop: asyncio.AbstractEventLoop,
        overflow: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._overflow = overflow
        self._transport: asyncio.Transport | None = None
        self._vectored = False
        self._out: list[Buffer] = []
        self._out_size = 0
        self._ready: deque[SendBuffer] = deque()
        self._scheduled = False
        self.blocked = False  # the transport holds more than the client takes
        self.blocked_since = 0.0
        self.window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.max_frame_size = MIN_FRAME_SIZE

    def attach(self, transport: asyncio.Transport) -> None:
        """Send by this transport from now on, first what has piled up."""
        self._transport = transport
        # asyncio's own writelines never pauses the protocol before Python 3.12.9 and 3.13.2
        # (CVE-2024-12254): what it is given would pile up.
        self._vectored = type(transport).__module__.startswith("uvloop")
        high = self._settings.write_buffer
        transport.set_write_buffer_limits(high=high, low=high // 4)
        self.schedule()

    def write(self, data: Buffer) -> None:
        """Send a frame that no window governs."""
        self._out.append(data)
        self._out_size += len(data)
        if not self._scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Send what there is once the tasks that are ready now have had their turn."""
        if not self._scheduled and self._transport is not None:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def push(self, buffer: SendBuffer, data: memoryview, *, end: bool) -> None:
        """Add to an answer."""
        if not buffer.size:
            buffer.since = self._loop.time()
        if data:
            buffer.chunks.append(data)
            buffer.size += len(data)
        buffer.ended = end
        self.offer(buffer)

    def fits(self, buffer: SendBuffer, size: int) -> bool:
        """Whether a small answer may go out past the queue, beside its header."""
        return (
            not self.blocked
            and size <= self.max_frame_size
            and size <= self.window
            and size <= buffer.window
        )

    def write_answer(self, buffer: SendBuffer, head: bytes, body: Buffer) -> None:
        """Send a whole small answer at once; ``fits`` has said that it may."""
        size = len(body)
        self.window -= size
        buffer.window -= size
        end = frames.header(size, frames.DATA, frames.END_STREAM, buffer.stream_id)
        if size < _JOIN_BELOW:
            self.write(b"".join((head, end, body)))
        else:
            self.write(head + end)
            self.write(body)
        buffer.sent()

    def offer(self, buffer: SendBuffer) -> None:
        """Queue a stream if it can send; an end without data needs no window and no turn."""
        if buffer.queued:
            return
        if not buffer.size:
            if buffer.ended:
                buffer.ended = False
                end = frames.header(0, frames.DATA, frames.END_STREAM, buffer.stream_id)
                self.write(end)
                buffer.sent()
        elif buffer.window > 0:
            buffer.queued = True
            self._ready.append(buffer)
            self.schedule()

    def resume(self) -> None:
        """The transport takes data again."""
        self.blocked = False
        self.flush()

    def pause(self) -> None:
        """The transport has enough."""
        self.blocked = True
        self.blocked_since = self._loop.time()

    def flush(self) -> None:
        """Send until nothing can be sent."""
        self._scheduled = False
        while not self.blocked:
            if self._ready and self.window > 0:
                self._pump()
            if not self._out:
                return
            self._write_out()
        if self._out_size > self._settings.write_backlog:
            self._overflow()

    def flush_last(self) -> None:
        """Hand all control frames to the transport, whatever it holds: it will be closed."""
        self._ready.clear()
        if self._out:
            self._write_out()

    def _write_out(self) -> None:
        out, size = self._out, self._out_size
        self._out, self._out_size = [], 0
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if size < _JOIN_BELOW or not self._vectored:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        else:
            transport.writelines(out)

    def _pump(self) -> None:
        """Frame what may go until a write's worth is there."""
        ready, most = self._ready, self._settings.write_buffer
        now = self._loop.time()
        while ready and self._out_size < most and self.window > 0:
            buffer = ready.popleft()
            if self._turn(buffer, now):
                ready.append(buffer)
            else:
                buffer.queued = False

    def _turn(self, buffer: SendBuffer, now: float) -> bool:
        """Send one quantum of a stream; true if it can go on."""
        allowed = min(self._settings.send_quantum, self.window, buffer.window)
        chunks, out, largest = buffer.chunks, self._out, self.max_frame_size
        stream_id = buffer.stream_id
        spent = 0
        while chunks and spent < allowed:
            chunk = chunks[0]
            start = buffer.offset
            size = min(len(chunk) - start, largest, allowed - spent)
            stop = start + size
            spent += size
            if stop == len(chunk):
                chunks.popleft()
                buffer.offset = 0
            else:
                buffer.offset = stop
            flags = frames.END_STREAM if buffer.ended and not chunks else 0
            out.append(frames.header(size, frames.DATA, flags, stream_id))
            out.append(chunk[start:stop])
            self._out_size += frames.HEADER_SIZE + size
        self.window -= spent
        buffer.window -= spent
        buffer.size -= spent
        if spent:
            buffer.since = now
        if not buffer.size:
            if buffer.ended:  # the last frame said so
                buffer.ended = False
                buffer.sent()
            buffer.wake()
            return False
        buffer.wake()
        return buffer.window > 0
