"""Every error that batchq answers with, as one tree.

    BatchqError
    ├── RequestError            the caller erred; repeating it unchanged fails again
    │   ├── BadRequest          a name, parameter, header or body that can't be read
    │   ├── Unauthorized, Forbidden, CrossSite
    │   ├── NotFound, MethodNotAllowed
    │   ├── NotAcceptable, UnsupportedMediaType, Unprocessable
    │   ├── TooLarge
    │   └── Conflict            the request is sound, the queue's state is against it
    │       ├── StaleEpoch, SequenceGap
    │       ├── QueueClosed, QueueReplaced, TotalsDiffer
    │       └── LeaseLost
    ├── LimitReached            a configured limit is reached; try again later
    │   └── QueueFull, TooManyQueues, TooManyProducers, TooManyLeases
    └── Unavailable             the server can't serve now; try again later
        └── ShuttingDown, StoreUnavailable, DiskFull

An error carries a stable, kebab-case ``code``, a ``title`` that is the same for
all errors of its class, and a ``detail`` that says what to do. Which HTTP status
answers it is the business of ``batchq.app`` and is not known here.
"""

from __future__ import annotations

from typing import ClassVar


class BatchqError(Exception):
    """Root of the tree.

    Args:
        detail: one sentence for the caller: what is wrong and what to do.
        queue_id: the life that the answer speaks of, where one is known.
    """

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str, *, queue_id: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.queue_id = queue_id


class RequestError(BatchqError):
    """The caller erred; the same request fails again."""


class BadRequest(RequestError):
    """A name, parameter, header or body that can't be read."""

    code = "bad-request"
    title = "Bad request"


class Unauthorized(RequestError):
    """No token, or one that is not known."""

    code = "unauthorized"
    title = "Unauthorized"


class Forbidden(RequestError):
    """The token may not do this."""

    code = "forbidden"
    title = "Forbidden"


class CrossSite(RequestError):
    """A browser asks on behalf of another site."""

    code = "cross-site"
    title = "Cross-site request"


class NotFound(RequestError):
    """No such route."""

    code = "not-found"
    title = "Not found"


class NoSuchQueue(RequestError):
    """Statistics or deletion of a queue that does not exist."""

    code = "no-such-queue"
    title = "No such queue"


class MethodNotAllowed(RequestError):
    """The route exists, the method does not.

    Args:
        detail: what to use instead.
        allow: the methods that the route has.
    """

    code = "method-not-allowed"
    title = "Method not allowed"

    def __init__(self, detail: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.allow = allow


class NotAcceptable(RequestError):
    """The lines can't be given in the form asked for; nothing was taken."""

    code = "not-acceptable"
    title = "Not acceptable"


class UnsupportedMediaType(RequestError):
    """A body of a type or coding that is not taken."""

    code = "unsupported-media-type"
    title = "Unsupported media type"


class Unprocessable(RequestError):
    """A body of the right type with the wrong content."""

    code = "unprocessable"
    title = "Unprocessable content"


class TooLarge(RequestError):
    """A body above the limit."""

    code = "too-large"
    title = "Too large"


class Conflict(RequestError):
    """The request is sound, but the queue's state is against it."""


class StaleEpoch(Conflict):
    """A newer epoch of the same producer is in force: this writer is fenced off.

    Args:
        detail: what to do.
        epoch: the epoch in force.
        queue_id: the life spoken of.
    """

    code = "stale-epoch"
    title = "Stale epoch"

    def __init__(self, detail: str, *, epoch: int, queue_id: str | None = None) -> None:
        super().__init__(detail, queue_id=queue_id)
        self.epoch = epoch


class SequenceGap(Conflict):
    """A numbered batch came ahead of its turn and could not be kept.

    Args:
        detail: what to do.
        expected: the sequence number that the queue takes next.
        received: the one that came.
        queue_id: the life spoken of, where there is one yet.
    """

    code = "sequence-gap"
    title = "Sequence gap"

    def __init__(
        self, detail: str, *, expected: int, received: int, queue_id: str | None = None
    ) -> None:
        super().__init__(detail, queue_id=queue_id)
        self.expected = expected
        self.received = received


class QueueClosed(Conflict):
    """A push to a closed queue."""

    code = "queue-closed"
    title = "Queue closed"


class QueueReplaced(Conflict):
    """The life that the request speaks to is over."""

    code = "queue-replaced"
    title = "Queue replaced"


class TotalsDiffer(Conflict):
    """The closer counted other totals than the queue; it stays open."""

    code = "totals-differ"
    title = "Totals differ"


class LeaseLost(Conflict):
    """A lease that is unknown: acknowledged before, run out, or never given.

    Args:
        detail: what to do.
        lost: the lease ids that are unknown.
        queue_id: the life spoken of.
    """

    code = "lease-lost"
    title = "Lease lost"

    def __init__(self, detail: str, *, lost: tuple[str, ...], queue_id: str | None = None) -> None:
        super().__init__(detail, queue_id=queue_id)
        self.lost = lost


class LimitReached(BatchqError):
    """A configured limit is reached; the same request may succeed later.

    ``retry_after`` is the wait to suggest, in whole seconds.
    """

    retry_after: int = 1


class QueueFull(LimitReached):
    """The queue holds as many bytes as it may."""

    code = "queue-full"
    title = "Queue full"


class TooManyQueues(LimitReached):
    """The server holds as many queues as it may."""

    code = "too-many-queues"
    title = "Too many queues"


class TooManyProducers(LimitReached):
    """The queue knows as many producers as it may."""

    code = "too-many-producers"
    title = "Too many producers"


class TooManyLeases(LimitReached):
    """The queue has as many leases out as it may."""

    code = "too-many-leases"
    title = "Too many leases"


class Unavailable(BatchqError):
    """The server can't serve this now.

    ``retry_after`` is the wait to suggest, in whole seconds.
    """

    retry_after: int = 1


class ShuttingDown(Unavailable):
    """The server is about to end."""

    code = "shutting-down"
    title = "Shutting down"


class StoreUnavailable(Unavailable):
    """The store can't be reached, or has failed and stopped."""

    code = "store-unavailable"
    title = "Store unavailable"


class DiskFull(Unavailable):
    """Less than the reserve is free on the store's disk."""

    code = "disk-full"
    title = "Disk full"
