"""Every error of the client, as one tree.

    ClientError
    ├── NetworkFault            no answer came
    │   ├── NotSent             the server surely did nothing: repeat at will
    │   │   └── Incompatible    it can't be talked to like this: repeating won't help
    │   └── OutcomeUnknown      it may have done it: repeat only what is numbered or leased
    ├── UnexpectedAnswer        an answer that is not this protocol's (a proxy's, another server's)
    └── Refused                 the server's answer: a problem document (RFC 9457)
        ├── BadRequest, NotFound, NoSuchQueue, MethodNotAllowed, NotAcceptable,
        │   UnsupportedMediaType, Unprocessable, TooLarge
        ├── Unauthorized, Forbidden, CrossSite
        ├── StaleEpoch, SequenceGap, QueueClosed, QueueReplaced, TotalsDiffer, LeaseLost
        ├── LimitReached        try again later
        │   └── QueueFull, TooManyQueues, TooManyProducers, TooManyLeases
        └── Unavailable         try again later
            └── ShuttingDown, StoreUnavailable, DiskFull, InternalError

A problem is mapped by its ``code``; one whose code is not known, by its status.
"""

from __future__ import annotations

import json
import re
import ssl
from typing import Any, ClassVar, Final

import httpx

from batchq_client.transport import HTTP2NotSupported, safe_to_resend

_SHOWN: Final = 100
"""Characters of an answer's body that an error repeats."""

_WHOLE: Final = re.compile(r"[0-9]{1,16}")


class ClientError(Exception):
    """Root of the tree."""


class NetworkFault(ClientError):
    """No answer came."""


class NotSent(NetworkFault):
    """The server surely did nothing: nothing was sent, or it said so."""


class Incompatible(NotSent):
    """The server is there, and can't be talked to like this, however often it is tried.

    Its certificate can't be verified, or it speaks another protocol.
    """


class OutcomeUnknown(NetworkFault):
    """The request may have been carried out. Its answer did not come."""


class UnexpectedAnswer(ClientError):
    """An answer that is not this protocol's.

    Args:
        text: one sentence for people.
        status: the answer's HTTP status.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Refused(ClientError):
    """The server's refusal.

    Args:
        problem: the problem document's members.
        response: the answer.

    Attributes:
        status: the HTTP status.
        problem_code: the problem's stable name, as the server gave it.
        title: the same for people.
        detail: what is wrong and what to do.
        queue_id: the life that is spoken of, where one is.
        retry_after: seconds to wait before another try, where the server says.
    """

    code: ClassVar[str] = ""

    def __init__(self, problem: dict[str, Any], response: httpx.Response) -> None:
        self.status = response.status_code
        self.problem_code = str(problem.get("code", ""))
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", "")) or self.title or f"status {self.status}"
        self.queue_id: str | None = response.headers.get("queue-id")
        self.retry_after = _number(response, "retry-after")
        super().__init__(self.detail)


class BadRequest(Refused):
    """A name, parameter, header or body that can't be read."""

    code = "bad-request"


class Unauthorized(Refused):
    """No token, or one that is not known."""

    code = "unauthorized"


class Forbidden(Refused):
    """The token may not do this."""

    code = "forbidden"


class CrossSite(Refused):
    """A browser asks on behalf of another site."""

    code = "cross-site"


class NotFound(Refused):
    """No such route: the URL's path prefix may be wrong."""

    code = "not-found"


class NoSuchQueue(Refused):
    """Statistics or deletion of a queue that does not exist."""

    code = "no-such-queue"


class MethodNotAllowed(Refused):
    """The route exists, the method does not."""

    code = "method-not-allowed"


class NotAcceptable(Refused):
    """The lines can't be given in the form asked for."""

    code = "not-acceptable"


class UnsupportedMediaType(Refused):
    """A body of a type or coding that is not taken."""

    code = "unsupported-media-type"


class Unprocessable(Refused):
    """A body of the right type with the wrong content."""

    code = "unprocessable"


class TooLarge(Refused):
    """A body above the server's limit."""

    code = "too-large"


class StaleEpoch(Refused):
    """A newer epoch of the same producer is in force; ``epoch`` is it, where it is told."""

    code = "stale-epoch"

    def __init__(self, problem: dict[str, Any], response: httpx.Response) -> None:
        super().__init__(problem, response)
        self.epoch = _number(response, "producer-epoch")


class SequenceGap(Refused):
    """A numbered batch came ahead of its turn; ``expected`` is the number that is next."""

    code = "sequence-gap"

    def __init__(self, problem: dict[str, Any], response: httpx.Response) -> None:
        super().__init__(problem, response)
        self.expected = _number(response, "producer-expected-seq")
        self.received = _number(response, "producer-received-seq")


class QueueClosed(Refused):
    """A push to a closed queue."""

    code = "queue-closed"


class QueueReplaced(Refused):
    """The life that the request speaks to is over."""

    code = "queue-replaced"


class TotalsDiffer(Refused):
    """The closer counted other totals than the queue; it stays open."""

    code = "totals-differ"


class LeaseLost(Refused):
    """Leases that are unknown, named in ``lost``."""

    code = "lease-lost"

    def __init__(self, problem: dict[str, Any], response: httpx.Response) -> None:
        super().__init__(problem, response)
        self.lost = lost_leases(response)


class LimitReached(Refused):
    """A configured limit is reached; the same request may succeed later."""


class QueueFull(LimitReached):
    """The queue holds as many bytes as it may."""

    code = "queue-full"


class TooManyQueues(LimitReached):
    """The server holds as many queues as it may."""

    code = "too-many-queues"


class TooManyProducers(LimitReached):
    """The queue knows as many producers as it may."""

    code = "too-many-producers"


class TooManyLeases(LimitReached):
    """The queue has as many leases out as it may."""

    code = "too-many-leases"


class Unavailable(Refused):
    """The server can't serve this now; the same request may succeed later."""


class ShuttingDown(Unavailable):
    """The server is about to end."""

    code = "shutting-down"


class StoreUnavailable(Unavailable):
    """The store can't be reached, or has failed and stopped."""

    code = "store-unavailable"


class DiskFull(Unavailable):
    """Less than the reserve is free on the store's disk."""

    code = "disk-full"


class InternalError(Unavailable):
    """The server failed; its log says how. What was asked for may have been done."""

    code = "internal-error"


def _codes(root: type[Refused]) -> dict[str, type[Refused]]:
    found = {root.code: root} if root.code else {}
    for kind in root.__subclasses__():
        found |= _codes(kind)
    return found


BY_CODE: Final = _codes(Refused)
"""Which error a problem's ``code`` is."""

_BY_STATUS: Final[dict[int, type[Refused]]] = {
    429: LimitReached,
    500: InternalError,
    503: Unavailable,
    507: Unavailable,
}


_NOT_THE_NAME: Final = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""

_UNKNOWN_ISSUER: Final = (18, 19, 20, 21)
"""OpenSSL's codes of chains that end at nobody who is trusted."""


def fault_of(error: httpx.TransportError, url: str, *, met: bool) -> NetworkFault:
    """Makes the client's error of one of httpx's; its class tells whether anything was done.

    Args:
        error: what httpx raised.
        url: the server's.
        met: it has answered before, so that whatever is wrong now may pass.
    """
    reason = None if met else _incompatible(error)
    if reason is not None:
        return Incompatible(f"can't talk to {url}: {reason}")
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return NotSent(f"can't reach {url}: no answer in time")
    if safe_to_resend(error):
        return NotSent(f"can't reach {url}: {text}")
    if isinstance(error, httpx.TimeoutException):
        text = "not in time"
    return OutcomeUnknown(f"no answer from {url}: {text}")


def _incompatible(error: httpx.TransportError) -> str | None:
    """Why a server can't be talked to, and what to do; None where it may be another time."""
    cause = error.__cause__
    if isinstance(error, HTTP2NotSupported):
        return (
            f"{error}; see whether it is a batchq server, and whether it wants https:// or http://"
        )
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {cause.verify_message}; {_remedy(cause)}"
    if not isinstance(cause, ssl.SSLError) or isinstance(cause, _TLS_ENDED):
        return None
    if cause.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS on this port; try http://"
    return f"TLS failed: {cause.reason or cause}"


_TLS_ENDED: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""The connection ended, for whatever reason."""


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NOT_THE_NAME:
        return "use a name that stands in it"
    if error.verify_code in _UNKNOWN_ISSUER:
        return "name a file with its authority's certificate in SSL_CERT_FILE"
    return "the server needs a valid one"


def error_of(response: httpx.Response) -> ClientError:
    """Makes an error of an answer that is not a success. Its body has been read."""
    problem = _problem(response)
    if problem is None:
        return UnexpectedAnswer(
            f"{response.request.url} answered {response.status_code} with "
            f"{_excerpt(response)}: is this a batchq server?",
            response.status_code,
        )
    code = problem.get("code")
    kind = BY_CODE.get(code) if isinstance(code, str) else None
    return (kind or _BY_STATUS.get(response.status_code, Refused))(problem, response)


def lost_leases(response: httpx.Response) -> tuple[str, ...]:
    """Reads ``Lease-Lost``."""
    value = response.headers.get("lease-lost", "")
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/problem+json":
        return None
    try:
        problem = json.loads(response.content)
    except ValueError:
        return None
    return problem if isinstance(problem, dict) else None


def _excerpt(response: httpx.Response) -> str:
    text = " ".join(response.text.split())
    if not text:
        return "no text"
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _number(response: httpx.Response, name: str) -> int | None:
    value = response.headers.get(name, "").strip()
    return int(value) if _WHOLE.fullmatch(value) else None
