r"""Errors as answers: one table of statuses, and RFC 9457 problem documents.

A problem is one line of JSON that ends in ``\n``, so that it reads well in a terminal.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson

from batchq import errors
from batchq.app.answer import NO_STORE, Answer, Header, number

STATUS: Final[dict[type[errors.BatchqError], int]] = {
    errors.BadRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.CrossSite: 403,
    errors.StaleEpoch: 403,
    errors.NotFound: 404,
    errors.NoSuchQueue: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.Unprocessable: 422,
    errors.LimitReached: 429,
    errors.Unavailable: 503,
    errors.DiskFull: 507,
}
"""The status of an error is that of its class, or of the nearest one above it."""

_CONTENT_TYPE: Final = (b"content-type", b"application/problem+json")

_REFUSALS: Final[dict[int, tuple[str, str, str]]] = {
    400: (
        errors.BadRequest.code,
        errors.BadRequest.title,
        (
            "this is no HTTP request that can be read: check its first line, its headers and the"
            " length of its body"
        ),
    ),
    404: (errors.NotFound.code, errors.NotFound.title, "no such route: see GET /queues"),
    431: (
        "header-too-large",
        "Header too large",
        (
            "the first line and the headers are too long together: keep them below 16 KiB, and name"
            " many leases in several calls"
        ),
    ),
    501: (
        "not-implemented",
        "Not implemented",
        (
            "no transfer coding but chunked is known, and there are no tunnels: send Content-Length"
            " or Transfer-Encoding: chunked, and POST or GET in place of CONNECT"
        ),
    ),
}
"""By status: code, title and detail of what is refused before it reaches a route."""


def problem(error: errors.BatchqError) -> Answer:
    """Answers an error."""
    status = status_of(error)
    body = _document(status, type(error).code, type(error).title, error.detail)
    return Answer(status, [_CONTENT_TYPE, NO_STORE, *_headers(error)], body)


def status_of(error: errors.BatchqError) -> int:
    """Tells which HTTP status answers an error."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def unexpected() -> Answer:
    """Answers a fault of the server, without telling anything about it."""
    body = _document(
        500,
        "internal-error",
        "Internal error",
        "the server failed, and its log says how; what is numbered may be sent again",
    )
    return Answer(500, [_CONTENT_TYPE, NO_STORE], body)


def refused(status: int) -> Answer:
    """Answers what never reaches a route: refused by Quart, or by the connection itself."""
    if status == 500:
        return unexpected()
    code, title, detail = _REFUSALS.get(status) or _other(status)
    return Answer(status, [_CONTENT_TYPE, NO_STORE], _document(status, code, title, detail))


def _other(status: int) -> tuple[str, str, str]:
    """A word for a status that is not known to be given: that of the registry (RFC 9110, 15)."""
    try:
        title = HTTPStatus(status).phrase.capitalize()
    except ValueError:
        title = "Refused"
    detail = "the request can't be served as it is: see the server's protocol for what it takes"
    return title.lower().replace(" ", "-"), title, detail


def _document(status: int, code: str, title: str, detail: str) -> bytes:
    return orjson.dumps(
        {
            "type": f"urn:problem-type:batchq:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _headers(error: errors.BatchqError) -> list[Header]:
    headers: list[Header] = []
    if error.queue_id is not None:
        headers.append((b"queue-id", error.queue_id.encode()))
    match error:
        case errors.Unauthorized():
            headers.append((b"www-authenticate", b"Bearer"))
        case errors.MethodNotAllowed():
            headers.append((b"allow", ", ".join(error.allow).encode()))
        case errors.StaleEpoch():
            headers.append((b"producer-epoch", number(error.epoch)))
        case errors.SequenceGap():
            headers.append((b"producer-expected-seq", number(error.expected)))
            headers.append((b"producer-received-seq", number(error.received)))
        case errors.LeaseLost():
            headers.append((b"lease-lost", ", ".join(error.lost).encode()))
        case errors.LimitReached() | errors.Unavailable():
            headers.append((b"retry-after", number(error.retry_after)))
        case _:
            pass
    return headers
