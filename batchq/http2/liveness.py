"""Whether a client is still there: TCP's probes, and PING while requests are open.

A client that has vanished says nothing, as one that waits does. TCP asks its machine, PING
asks the program: what a dead one waits for would be given to nobody. A program that reads a
file or a pipe without end to send it (``tail -f log | curl -T -``) may be too busy to answer
a PING for hours and is in order: while a body is coming in, its machine's word is enough.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from batchq.http2 import frames
from batchq.http2.connection import Connection
from batchq.http2.settings import Http2Settings

_PROBES = 3
_MOST_SECONDS = 32_767  # that Linux takes
_PING = b"\0batchq\0"
_INT = struct.Struct("i")


def probe(sock: Any, settings: Http2Settings) -> None:
    """Have TCP ask a silent client's machine, and end the connection when it is not there.

    Args:
        sock: an event loop's socket, of any protocol above TCP.
        settings: ``ping_interval`` is the time between probes.
    """
    seconds = min(max(1, round(settings.ping_interval)), _MOST_SECONDS)
    with suppress(OSError):  # it may be over already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", seconds),
        ("TCP_KEEPINTVL", seconds),
        ("TCP_KEEPCNT", _PROBES),
    ):
        _set_tcp(sock, name, value)


def _set_tcp(sock: Any, name: str, value: int) -> None:
    option = getattr(socket, name, None)  # not every system has each
    if option is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Liveness:
    """Asks the client of one connection.

    Args:
        connection: which; it is asked only while it has open streams.
        settings: ``ping_interval`` and ``ping_timeout``.
        after: has an action run after some seconds, in place of one put off by the same name.
        gone: called when no answer came in time.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Http2Settings,
        after: Callable[[str, float, Callable[[], object]], None],
        gone: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._after = after
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._reads = 0  # of the connection, when it was looked at last

    def start(self, transport: asyncio.Transport) -> None:
        """Begin to listen."""
        self._transport = transport
        # Unanswered data would be sent again for a quarter of an hour, without a probe.
        # Shorter, and a client that puts off reading the end of its answer would lose it.
        sock = transport.get_extra_info("socket")
        seconds = min(self._settings.idle_timeout, _MOST_SECONDS)
        _set_tcp(sock, "TCP_USER_TIMEOUT", round(seconds * 1000))
        self._listen()

    def _listen(self) -> None:
        connection = self._connection
        if connection.closed:
            return
        silent = connection.reads == self._reads
        self._reads = connection.reads
        if silent and connection.streams and self._all_is_out():
            connection.sender.write(frames.ping(_PING, ack=False))
            self._after("ping", self._settings.ping_timeout, self._overdue)
        else:
            self._after("ping", self._settings.ping_interval, self._listen)

    def _overdue(self) -> None:
        connection = self._connection
        silent = connection.reads == self._reads
        if silent and connection.streams and not connection.uploads():
            self._gone()
        else:
            self._after("ping", self._settings.ping_interval, self._listen)

    def _all_is_out(self) -> bool:
        """Whether a PING would stand behind nothing: on a slow line it would be late."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size():
            return False
        sock = transport.get_extra_info("socket")
        try:
            (waiting,) = _INT.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))
        except OSError:  # a system that does not tell
            return True
        return not waiting
