"""What can go wrong below an HTTP/2 request, in httpx's own classes.

Every error of this package is an `httpx.TransportError`. The classes here add one piece
of information that httpx does not carry: that the peer has provably not acted on the
request, so that sending it again cannot do anything twice (RFC 9113, section 8.7).
"""

from __future__ import annotations

import httpx

__all__ = [
    "ClosedBeforeSettings",
    "HTTP2NotSupported",
    "StreamAboveGoaway",
    "StreamRefused",
    "UnprocessedRequest",
    "safe_to_resend",
]


class UnprocessedRequest(httpx.RemoteProtocolError):
    """The peer says, or shows, that it has not acted on the request."""


class StreamRefused(UnprocessedRequest):
    """The peer reset the stream with REFUSED_STREAM (RFC 9113, section 8.7)."""


class StreamAboveGoaway(UnprocessedRequest):
    """The stream's id is above the last one that the peer's GOAWAY names (section 6.8)."""


class HTTP2NotSupported(UnprocessedRequest):
    """The peer does not speak HTTP/2: it chose another protocol, or answered in one."""


class ClosedBeforeSettings(httpx.ConnectError):
    """The peer took the connection, and closed it before a word of HTTP/2.

    It may have none; but a server that is just ending does the same, so that trying again
    may help. A peer that said something else is `HTTP2NotSupported`.
    """


_NOTHING_WAS_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


def safe_to_resend(error: BaseException) -> bool:
    """Tell whether the failed request was certainly not acted on by the peer.

    Args:
        error: What the request raised.

    Returns:
        True for errors before anything was sent (connect, pool), for REFUSED_STREAM and
        for streams above GOAWAY's last id. Everything else is an unknown outcome.
    """
    return isinstance(error, (UnprocessedRequest, *_NOTHING_WAS_SENT))
