"""What HAProxy answers by itself: problem documents (RFC 9457), as the servers write them.

``batchq_client`` tells them by code or status: 503 and 502 are tried again, the latter only
where that does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson

from batchq import errors

RETRY_SECONDS: Final = 1
"""``Retry-After`` of what may be over soon, as the servers have it."""

HELD_SECONDS: Final = 5
"""``Retry-After`` while a queue is moved: that takes a while."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal.

    Attributes:
        status: the HTTP status.
        code: stable, kebab-case.
        title: the same for people.
        detail: what is wrong and what to do.
        retry_after: seconds, or None.
        allow: methods, or nothing.
        members: further members, each a list of names.
    """

    status: int
    code: str
    title: str
    detail: str
    retry_after: int | None = None
    allow: str = ""
    members: dict[str, list[str]] = field(default_factory=dict)

    @property
    def document(self) -> str:
        """The body, without the newline at its end."""
        return orjson.dumps(
            {
                "type": f"urn:problem-type:batchq:{self.code}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
                "code": self.code,
                **self.members,
            }
        ).decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Headers beside ``Content-Type``."""
        found = [("Cache-Control", "no-store")]
        if self.retry_after is not None:
            found.append(("Retry-After", str(self.retry_after)))
        if self.allow:
            found.append(("Allow", self.allow))
        return found


def shard_down(shard: str) -> Problem:
    """The shard that a queue lives on is away, or has no room; nothing was done."""
    return Problem(
        503,
        "shard-unavailable",
        "Shard unavailable",
        f"shard {shard} does not answer, or has as many requests as it may, and its queues are "
        "nowhere else: try again",
        RETRY_SECONDS,
    )


def held() -> Problem:
    """The queue is being moved to another shard; nothing was done."""
    return Problem(
        503,
        "queue-moving",
        "Queue moving",
        "the queue is being moved to another shard: try again",
        HELD_SECONDS,
    )


def too_many_pulls(most: int) -> Problem:
    """As many pulls without a lease wait as may; nothing was taken."""
    return Problem(
        429,
        "too-many-pulls",
        "Too many pulls",
        f"{most} pulls without a lease are waiting, as many as may: try again, or pull on a lease",
        RETRY_SECONDS,
    )


def too_many_calls(most: int) -> Problem:
    """As many requests of the kind that is passed on one by one are under way as may be."""
    return Problem(
        429,
        "too-many-calls",
        "Too many calls",
        f"{most} requests that have neither a number nor a lease are under way, as many as may "
        "be: try again",
        RETRY_SECONDS,
    )


def unknown_shard(shards: list[str]) -> Problem:
    """``?shard=`` names none; the names are told."""
    return Problem(
        404,
        "no-such-shard",
        "No such shard",
        f"there is no such shard: choose of {', '.join(shards)}",
        members={"shards": shards},
    )


BAD_NAME: Final = Problem(
    400,
    errors.BadRequest.code,
    errors.BadRequest.title,
    "that is not a queue's name: use 1 to 128 of A-Z a-z 0-9 . _ -, the first of them a letter "
    "or digit",
)

BAD_PATH: Final = Problem(
    404,
    errors.NotFound.code,
    errors.NotFound.title,
    "no such route: name one queue, as /push/<queue>; only a queue's name may be percent-encoded",
)

BAD_METHOD: Final = Problem(
    405,
    errors.MethodNotAllowed.code,
    errors.MethodNotAllowed.title,
    "CONNECT is not possible here: use GET, POST or DELETE",
    allow="GET, POST, DELETE",
)

HEADERS_TOO_LARGE: Final = Problem(
    431, "header-too-large", "Header too large", "the request's header fields are too large"
)


OWN: Final = (
    Problem(
        400,
        errors.BadRequest.code,
        errors.BadRequest.title,
        "the request can't be read, or its header fields are too large",
    ),
    Problem(
        408,
        "request-timeout",
        "Request timeout",
        "the request's header fields did not come in time: send it again",
    ),
    Problem(
        500,
        "internal-error",
        "Internal error",
        "the balancer failed, and its log says how; what is numbered or leased may be sent again",
    ),
    Problem(
        502,
        "internal-error",
        "Internal error",
        "the shard ended before it answered, and may have done what was asked: what is numbered "
        "or leased may be sent again",
        RETRY_SECONDS,
    ),
    Problem(
        503,
        "shard-unavailable",
        "Shard unavailable",
        "no shard answers: try again",
        RETRY_SECONDS,
    ),
    Problem(
        504,
        "internal-error",
        "Internal error",
        "the shard did not answer in time, and may have done what was asked: what is numbered "
        "or leased may be sent again",
        RETRY_SECONDS,
    ),
)
"""For each status that HAProxy makes by itself."""
