"""httpx requests as HTTP/2 field lists (RFC 9113, sections 8.2 and 8.3), and what answers' say.

All that is sent is checked here, before anything is encoded: an error in the middle of a field list
would leave the compression state of the two sides apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
from hpack import NeverIndexedHeaderTuple

if TYPE_CHECKING:
    from .stream import Fields

__all__ = ["content_length", "request_fields", "response_status"]

# Fields that speak about an HTTP/1.1 connection must not be sent (RFC 9113, section 8.2.2);
# Host becomes :authority.
_NOT_SENT = frozenset(
    {
        b"host",
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
# Secrets are never put into a compression table (RFC 7541, section 7.1.3).
_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie"})

_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
# No NUL, CR or LF, and no white space at the ends (RFC 9113, section 8.2.1).
_is_bad_value = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z").search
_is_status = re.compile(rb"[1-9][0-9]{2}").fullmatch


def request_fields(request: httpx.Request) -> Fields:
    """Give the request's pseudo-header fields and fields, in the order they are sent.

    Raises:
        httpx.LocalProtocolError: A field can't be sent over HTTP/2.
    """
    url = request.url
    authority = url.netloc
    fields: Fields = []
    for raw_name, value in request.headers.raw:
        name = raw_name.lower()
        if not _is_name(name) or _is_bad_value(value):
            msg = f"the header field {raw_name!r} cannot be sent"
            raise httpx.LocalProtocolError(msg)
        if name == b"host":
            authority = value
        elif name in _SECRET:
            fields.append(NeverIndexedHeaderTuple(name, value))
        elif name not in _NOT_SENT and (name != b"te" or value.lower() == b"trailers"):
            fields.append((name, value))
    method, path = request.method.encode("ascii"), url.raw_path
    if _is_bad_value(method) or _is_bad_value(path) or b" " in method:
        msg = f"the method {request.method!r} or the path cannot be sent"
        raise httpx.LocalProtocolError(msg)
    return [
        (b":method", method),
        (b":authority", authority),
        (b":scheme", url.raw_scheme),
        (b":path", path),
        *fields,
    ]


def response_status(fields: Fields) -> int:
    """Read the status of an answer's head; h2 has seen that there is one.

    Raises:
        ValueError: It is not three digits (RFC 9110, section 15).
    """
    value = next(value for name, value in fields if name == b":status")
    if not _is_status(value):
        msg = f"the answer's status is {value!r}"
        raise ValueError(msg)
    return int(value)


def content_length(fields: Fields) -> int | None:
    """Read the Content-Length of an answer's head; h2 has seen that it is one number."""
    return next((int(value) for name, value in fields if name == b"content-length"), None)
