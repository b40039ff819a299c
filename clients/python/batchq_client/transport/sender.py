"""What goes out on one connection: h2's frames first, then bodies in turn."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .framing import Http2State
    from .settings import TransportSettings
    from .stream import Stream

__all__ = ["Sender"]


class Sender:
    """Writes what h2 and the streams have, as far as windows and the socket allow.

    A body goes out one quantum at a time, so that all streams get on. Nothing waits here:
    whatever opens a window or empties the socket's buffer asks for another flush.

    Attributes:
        written: Bytes that were handed to the transport.
    """

    def __init__(self, state: Http2State, settings: TransportSettings) -> None:
        self._h2 = state
        self._quantum = settings.send_quantum
        self._write_buffer = settings.write_buffer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        # Streams that may have something to send, the next one first.
        self._queue: OrderedDict[int, Stream] = OrderedDict()
        self._flush_scheduled = False
        self._paused = False
        self.written = 0

    def start(self, transport: asyncio.Transport) -> None:
        """Send through this transport from now on."""
        self._transport = transport
        transport.set_write_buffer_limits(high=self._write_buffer)
        self.flush()

    def stop(self) -> None:
        """Send nothing more, also not what is scheduled."""
        self._transport = None
        self._queue.clear()

    @property
    def delivered(self) -> int:
        """How many of the bytes written the peer's machine has, as far as can be known."""
        if self._transport is None:
            return 0
        held = self._transport.get_write_buffer_size() + _held_by_kernel(self._transport)
        return self.written - held

    def want(self, stream: Stream) -> None:
        """The stream has something to send, or may send again."""
        self._queue[stream.stream_id] = stream
        self.schedule()

    def forget(self, stream: Stream) -> None:
        """The stream sends nothing more."""
        self._queue.pop(stream.stream_id, None)

    def clear(self) -> None:
        """No stream sends anything more."""
        self._queue.clear()

    def pause(self) -> None:
        """The socket's buffer is full."""
        self._paused = True

    def resume(self) -> None:
        """The socket takes more."""
        self._paused = False
        self.flush()

    def schedule_if_needed(self) -> None:
        """Flush soon if there is anything."""
        if self._h2.has_output or self._queue:
            self.schedule()

    def schedule(self) -> None:
        """Flush soon, once in a turn of the loop: many requests' heads become one write."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what can be written now."""
        self._flush_scheduled = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        output = self._h2.data_to_send()
        if output:
            self.written += len(output)
            transport.write(output)
        while self._queue and not self._paused:
            stream_id, stream = self._queue.popitem(last=False)
            frames = self._next_frames(stream)
            if frames:
                self.written += sum(map(len, frames))
                transport.writelines(frames)
            elif self._h2.outbound_flow_control_window <= 0:
                # All wait for the connection's window; this one keeps its turn.
                self._queue[stream_id] = stream
                self._queue.move_to_end(stream_id, last=False)
                return

    def _next_frames(self, stream: Stream) -> list[bytes | memoryview]:
        """Frame the stream's next turn; nothing when a window is closed."""
        outgoing = stream.outgoing
        waiting = len(outgoing)
        allowed = max(self._h2.send_allowance(stream.stream_id), 0)
        count = min(waiting, allowed, self._quantum)
        if not count and (waiting or not stream.last_piece):
            return []
        last = stream.last_piece and count == waiting
        frames = self._h2.frame_data(stream.stream_id, outgoing[:count], end_stream=last)
        stream.sent(count, last=last)
        if stream.outgoing:
            self._queue[stream.stream_id] = stream
        return frames


def _held_by_kernel(transport: asyncio.Transport) -> int:
    """How many bytes the kernel holds that the peer's has not acknowledged (Linux: tcp(7)).

    Where it does not tell, there are none.
    """
    answer = bytearray(struct.calcsize("i"))
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, answer)
    except (OSError, ValueError):  # the latter for a socket that was closed
        return 0
    return int(struct.unpack("i", answer)[0])
