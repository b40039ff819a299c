"""What a user may choose about the transport, and the deadlines of one request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import httpx

__all__ = ["Timeouts", "TransportSettings"]

KIB = 1024
MIB = 1024 * KIB

_LARGEST_WINDOW = 2**31 - 1
_LARGEST_SETTING = 2**32 - 1
_SIZES = {
    "stream_window": (0, _LARGEST_WINDOW),
    "connection_window": (65_535, _LARGEST_WINDOW),
    "max_frame_size": (2**14, 2**24 - 1),
    "send_quantum": (1, _LARGEST_WINDOW),
    "write_buffer": (0, _LARGEST_WINDOW),
    "read_buffer": (64, _LARGEST_WINDOW),
    "max_header_list_size": (0, _LARGEST_SETTING),
    "max_streams": (1, 2**31 - 1),
    "max_connections": (1, 2**31 - 1),
    "resends": (0, 2**31 - 1),
}
_TIMES = {"idle_timeout": True, "ping_interval": True, "ping_timeout": False}  # may it be None?


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """Sizes and limits of the transport; sizes are in bytes, times in seconds.

    Memory for answers that nobody reads is bounded by `stream_window` for each open
    stream: what arrives is credited to the connection at once, so that a slow reader
    never holds up the other streams, and to its own stream only as it is read.

    Attributes:
        stream_window: INITIAL_WINDOW_SIZE, how much of one answer may wait unread.
        connection_window: How much of all answers may be on its way at once.
        max_frame_size: MAX_FRAME_SIZE, the largest frame that the peer may send.
        send_quantum: How much of one body is sent before the next stream has its turn.
        write_buffer: How much may wait in the socket's buffer before sending pauses.
        read_buffer: How much is read from the socket at once.
        max_header_list_size: The largest decoded head of an answer.
        max_streams: Most streams on one connection, below the peer's own limit.
        max_connections: Most connections to one origin in one role.
        idle_timeout: A connection without streams is closed after this; None keeps it.
        ping_interval: Silence after which a connection with streams is probed with a
            PING; None probes only when nothing came for the whole time of a request.
        ping_timeout: How long the peer has to answer a PING before the connection and
            its streams fail. After a quarter of it, as after such a request, new requests
            use another connection until something is heard again.
        resends: How often a request is sent again when the peer has provably not acted
            on it (REFUSED_STREAM, above GOAWAY's last id) and its body is in memory.
    """

    stream_window: int = 4 * MIB
    connection_window: int = 64 * MIB
    max_frame_size: int = MIB
    send_quantum: int = 256 * KIB
    write_buffer: int = MIB
    read_buffer: int = 256 * KIB
    max_header_list_size: int = 64 * KIB
    max_streams: int = 10_000
    max_connections: int = 10
    idle_timeout: float | None = 60.0
    ping_interval: float | None = 15.0
    ping_timeout: float = 10.0
    resends: int = 3

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant.

        Raises:
            ValueError: A size is not a whole number or outside what RFC 9113 (section
                6.5.2) allows, or a time is not a finite number of seconds above 0.
        """
        for name, (least, most) in _SIZES.items():
            size = getattr(self, name)
            if not isinstance(size, int) or not least <= size <= most:
                msg = f"{name} must be a whole number from {least} to {most}, not {size!r}"
                raise ValueError(msg)
        for name, optional in _TIMES.items():
            seconds = getattr(self, name)
            if optional and seconds is None:
                continue
            if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                msg = f"{name} must be a positive, finite number of seconds, not {seconds!r}"
                raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The deadlines of one request, in seconds, as httpx defines them; None is no deadline."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None

    @classmethod
    def of(cls, request: httpx.Request) -> Self:
        """Read the deadlines that httpx put into the request's extensions."""
        given: dict[str, Any] = request.extensions.get("timeout", {})
        return cls(given.get("connect"), given.get("read"), given.get("write"), given.get("pool"))
