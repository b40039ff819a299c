"""Every limit of the HTTP/2 side, with its unit and a default that serves bulk loads."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

MAX_WINDOW = 2**31 - 1  # RFC 9113 section 6.9.1
DEFAULT_WINDOW = 65_535  # RFC 9113 section 6.9.2
MIN_FRAME_SIZE = 2**14  # RFC 9113 section 6.5.2
MAX_FRAME_SIZE = 2**24 - 1

_KIB = 1024
_MIB = 1024 * 1024

_MOST = 2**62  # of what nothing but memory bounds
_LONGEST = 1e9  # seconds: above it event loops can't count


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Settings:
    """What one HTTP/2 connection may use, and how many connections there may be.

    A connection holds at most ``connection_window`` bytes of request bodies that no
    handler has asked for, of bodies that are gathered half of ``inflight_bytes``, and of
    answers that the client does not take at most what its handlers have sent: each
    handler waits once more than ``stream_send_buffer`` bytes of its answer are unsent.

    Attributes:
        max_connections: connections of a process that are open at once, those that speak
            HTTP/1.1 among them; a further one is closed before a byte of it is read, which
            is safe to try again.
        max_concurrent_streams: requests that one connection may have open; a further
            one is refused with REFUSED_STREAM, which is safe to send again.
        inflight_bytes: bytes of bodies that are gathered and not complete, of all connections;
            those of one connection may be half of it. Above a quarter of either the oldest
            bodies get window first; where even the windows that bodies begin with are too
            much, the youngest are refused with REFUSED_STREAM. Keep it at least four times
            the largest body, and 128 times ``stream_window``.
        stream_window: bytes a client may send on one stream before its handler reads.
        connection_window: the same for all streams of a connection together. Handlers
            that do not read can hold back the uploads beside them only once this is
            used up: keep it several times ``stream_window``.
        max_frame_size: bytes of the largest DATA frame that is taken (16 KiB to 16 MiB - 1).
        max_header_list_size: bytes of a request's fields as RFC 9113 section 6.5.2 counts
            them (each field costs 32 more than its text); above it the answer is 431.
        read_size: bytes read from the socket at once; one buffer serves all connections.
        stream_send_buffer: unsent bytes of one answer above which its handler waits.
        write_buffer: bytes given to the transport beyond what the kernel took; above
            it no stream is served until the client has read.
        write_backlog: bytes in the transport at which the connection is given up: only
            replies to floods from a client that does not read get there.
        send_quantum: bytes a stream may send before it is the next stream's turn.
        reset_burst: requests that a client may cancel, or send malformed, at once ...
        reset_rate: ... and a second in the long run; beyond it the connection is ended with
            ENHANCE_YOUR_CALM (rapid reset, CVE-2023-44487).
        refusal_burst: requests that a connection may have refused because too many are open,
            or because the end has begun, at once ...
        refusal_rate: ... and a second in the long run; beyond it the connection is ended as
            above. A client that asks for too much is told so; one that never listens is not
            told for ever.
        control_burst: the same for frames that carry no request and no data (PING,
            SETTINGS, PRIORITY, empty DATA, unknown types) ...
        control_rate: ... a second.
        early_answer_drain: bytes of a body that are taken and dropped after the answer
            has been sent, before the client is told to stop (RST_STREAM with NO_ERROR).
        idle_timeout: seconds without an open stream after which the connection is
            ended with GOAWAY; well above the clients' own.
        stall_timeout: seconds in which a client that has an answer waiting takes not one
            byte of it, after which that stream is cancelled.
        body_timeout: seconds in which a client that may send more of a body sends not one
            byte, after which that stream is cancelled; of HTTP/1.1, the connection ended.
            Long: who pipes a log into a request may have nothing to say for a while.
        ping_interval: seconds without a word from a client with open streams after which it
            is asked for one by PING, and between TCP's own probes of a silent connection,
            HTTP/1.1 too.
        ping_timeout: seconds that the answer to PING may take before the connection is
            ended, unless a body is coming in: then the client may be waiting for its source.
        drain_timeout: seconds that open requests get to finish at a graceful end.
        linger: seconds that a closing connection still reads, so that the client gets
            the last frames rather than a TCP reset.
    """

    max_connections: int = 4096
    max_concurrent_streams: int = 8192
    inflight_bytes: int = 512 * _MIB
    stream_window: int = 4 * _MIB
    connection_window: int = 32 * _MIB
    max_frame_size: int = _MIB
    max_header_list_size: int = 16 * _KIB
    read_size: int = 256 * _KIB
    stream_send_buffer: int = 64 * _KIB
    write_buffer: int = 512 * _KIB
    write_backlog: int = 8 * _MIB
    send_quantum: int = 64 * _KIB
    reset_burst: int = 10_000
    reset_rate: float = 100.0
    refusal_burst: int = 1_000_000
    refusal_rate: float = 10_000.0
    control_burst: int = 10_000
    control_rate: float = 1000.0
    early_answer_drain: int = 16 * _MIB
    idle_timeout: float = 180.0
    stall_timeout: float = 60.0
    body_timeout: float = 3600.0
    ping_interval: float = 15.0
    ping_timeout: float = 30.0
    drain_timeout: float = 10.0
    linger: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that the protocol does not allow, or that mean nothing.

        Raises:
            ValueError: a number, a size or a time is out of its range; the text names it.
        """
        for name, (low, high) in _RANGES.items():
            _whole(name, getattr(self, name), low, high)
        _whole("max_header_list_size", self.max_header_list_size, 1024, self.read_size // 4)
        for name in ("reset_rate", "refusal_rate", "control_rate", "linger"):
            _real(name, getattr(self, name))
        for name in _TIMES:
            _real(name, getattr(self, name))
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0 seconds")


_TIMES = (
    "idle_timeout",
    "stall_timeout",
    "body_timeout",
    "ping_interval",
    "ping_timeout",
    "drain_timeout",
)

# The whole numbers: from what to what each may be.
_RANGES = {
    "max_connections": (1, MAX_WINDOW),
    "max_concurrent_streams": (1, MAX_WINDOW),
    "inflight_bytes": (2, _MOST),
    "stream_window": (0, MAX_WINDOW),
    "connection_window": (DEFAULT_WINDOW, MAX_WINDOW),
    "max_frame_size": (MIN_FRAME_SIZE, MAX_FRAME_SIZE),
    "read_size": (4 * MIN_FRAME_SIZE, MAX_WINDOW),
    "stream_send_buffer": (1, MAX_WINDOW),
    "write_buffer": (1, MAX_WINDOW),
    "write_backlog": (1, MAX_WINDOW),
    "send_quantum": (1, MAX_WINDOW),
    "reset_burst": (1, _MOST),
    "refusal_burst": (1, _MOST),
    "control_burst": (1, _MOST),
    "early_answer_drain": (0, _MOST),
}


def _whole(name: str, value: object, low: int, high: int) -> None:
    # A fraction passes a comparison, and fails far from here.
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def _real(name: str, value: float) -> None:
    # No comparison holds for NaN: one that is to find what is wrong lets it pass.
    if type(value) not in {int, float} or not isfinite(value) or not 0 <= value <= _LONGEST:
        raise ValueError(f"{name} must be a number from 0 to {_LONGEST:.0f}, not {value!r}")
