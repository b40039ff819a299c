"""Names, parameters and headers of a request: read strictly, each refusal naming its cause.

A parameter that is not known, is given twice or is out of range is refused: a typo must
not silently take lines, or take more of them than was meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote

from batchq.errors import BadRequest
from batchq.model import (
    LEASE_ID,
    MAX_INTEGER,
    MIB,
    PRODUCER_ID,
    QUEUE_NAME,
    Numbering,
)

_INTEGER: Final = re.compile(r"[0-9]{1,32}")
_SECONDS: Final = re.compile(r"[0-9]{1,32}(\.[0-9]{0,32})?|\.[0-9]{1,32}")
_QUEUE_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")

_MAX_FIELDS: Final = 1024
"""Parameters of one request; each of a pull's acks is one."""

_SHOWN: Final = 40
"""Characters of a caller's own text that are repeated in an error."""

Query = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class PullParameters:
    """A pull's query; the meaning of each is that of ``batchq.model.PullRequest``.

    Attributes:
        wait: seconds, not cut yet, or None where the server's default holds.
    """

    min: int
    max: int | None
    max_bytes: int
    wait: float | None
    partial: bool
    lease: float | None
    lease_id: str | None
    ack: tuple[str, ...]


def queue_name(segment: str) -> str:
    """Reads a queue's name from its percent-encoded segment of a path.

    Raises:
        BadRequest: it is none.
    """
    name = segment
    if "%" in segment:
        try:
            name = unquote(segment, errors="strict")
        except UnicodeDecodeError:
            name = ""
    if QUEUE_NAME.fullmatch(name) is None:
        raise BadRequest(
            f"{shown(name or segment)} is not a queue's name: use 1 to 128 of A-Z a-z 0-9 . _ -,"
            " the first of them a letter or digit"
        )
    return name


def parse_query(query: bytes, known: frozenset[str]) -> Query:
    """Reads a query string into the values of each parameter, none of them empty.

    Args:
        query: as it came, percent-encoded.
        known: the parameters that the route has.

    Raises:
        BadRequest: it can't be read, or names a parameter that is not known.
    """
    found: dict[str, list[str]] = {}
    if not query:
        return found
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except UnicodeDecodeError:
        raise BadRequest("the query string is not percent-encoded UTF-8") from None
    except ValueError:
        raise BadRequest(f"the query string has more than {_MAX_FIELDS} parameters") from None
    for name, value in pairs:
        if name not in known:
            raise BadRequest(f"{shown(name)} is not a parameter here: {_choices(known)}")
        if not value:
            raise BadRequest(f"{name} is empty: give it a value, or leave it out")
        found.setdefault(name, []).append(value)
    return found


def one(query: Query, name: str) -> str | None:
    """The value of a parameter that may be given once, or None.

    Raises:
        BadRequest: it is given twice.
    """
    values = query.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise BadRequest(f"{name} is given {len(values)} times: give it once")
    return values[0]


def integer(text: str, name: str, low: int) -> int:
    """Reads a whole number of at least ``low`` and at most 2^53-1.

    Raises:
        BadRequest: it is none; the detail names it by ``name``.
    """
    value = int(text) if _INTEGER.fullmatch(text) is not None else -1
    if not low <= value <= MAX_INTEGER:
        raise BadRequest(
            f"{name} must be a whole number from {low} to {MAX_INTEGER}, not {shown(text)}"
        )
    return value


def seconds(text: str, name: str) -> float:
    """Reads seconds from 0 up, decimals allowed.

    Raises:
        BadRequest: it is none; the detail names it by ``name``.
    """
    if _SECONDS.fullmatch(text) is None:
        raise BadRequest(f"{name} must be seconds from 0 up, such as 2.5, not {shown(text)}")
    return float(text)


def duration(text: str, name: str) -> float:
    """Reads seconds above 0. Raises as ``seconds``."""
    value = seconds(text, name)
    if value <= 0:
        raise BadRequest(f"{name} must be above 0 seconds, not {shown(text)}")
    return value


_PULL: Final = frozenset(("min", "max", "max_bytes", "wait", "partial", "lease", "lease_id", "ack"))
_PUSH: Final = frozenset(("wait",))
_LEASES: Final = frozenset(("lease",))
_EXTEND: Final = frozenset(("lease", "seconds"))
_NONE: Final[frozenset[str]] = frozenset()


@lru_cache(maxsize=1024)
def pull_parameters(query: bytes) -> PullParameters:
    """Reads a pull's query. Readers repeat theirs, hence the cache.

    Raises:
        BadRequest: as the functions above, or parameters that contradict each other.
    """
    found = parse_query(query, _PULL)
    least = _integer_or(found, "min", 1)
    most = one(found, "max")
    maximum = None if most is None else integer(most, "max", 1)
    if maximum is not None and maximum < least:
        raise BadRequest(f"max ({maximum}) is below min ({least}): raise max, or lower min")
    wait = one(found, "wait")
    lease = one(found, "lease")
    lease_id = one(found, "lease_id")
    if lease_id is not None:
        if lease is None:
            raise BadRequest("lease_id without lease: say for how many seconds, as lease=30")
        _lease(lease_id, "lease_id")
    return PullParameters(
        min=least,
        max=maximum,
        max_bytes=_integer_or(found, "max_bytes", MIB),
        wait=None if wait is None else seconds(wait, "wait"),
        partial=_boolean(found, "partial"),
        lease=None if lease is None else duration(lease, "lease"),
        lease_id=lease_id,
        ack=tuple(_lease(value, "ack") for value in found.get("ack", ())),
    )


def push_wait(query: bytes) -> float:
    """Reads a push's query: the seconds to wait for room."""
    text = one(parse_query(query, _PUSH), "wait")
    return 0.0 if text is None else seconds(text, "wait")


def leases(query: bytes) -> tuple[str, ...]:
    """Reads the leases to acknowledge or to release."""
    return _leases(parse_query(query, _LEASES))


def extension(query: bytes) -> tuple[tuple[str, ...], float]:
    """Reads the leases to extend, and for how many seconds."""
    found = parse_query(query, _EXTEND)
    text = one(found, "seconds")
    if text is None:
        raise BadRequest("seconds is missing: say when the lease is to end, as seconds=30")
    return _leases(found), duration(text, "seconds")


def no_parameters(query: bytes) -> None:
    """Refuses any parameter."""
    parse_query(query, _NONE)


def queue_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Reads ``Queue-Id``: the life that the caller speaks to.

    Raises:
        BadRequest: it can't be one.
    """
    raw = headers.get(b"queue-id")
    return None if raw is None else _token(raw, "Queue-Id", _QUEUE_ID)


def numbering(headers: Mapping[bytes, bytes]) -> Numbering | None:
    """Reads the producer headers: all three, or none.

    Raises:
        BadRequest: some are missing or can't be read.
    """
    producer = headers.get(b"producer-id")
    epoch = headers.get(b"producer-epoch")
    seq = headers.get(b"producer-seq")
    if producer is None and epoch is None and seq is None:
        return None
    if producer is None or epoch is None or seq is None:
        raise BadRequest("Producer-Id, Producer-Epoch and Producer-Seq go together: send all three")
    return Numbering(
        _token(producer, "Producer-Id", PRODUCER_ID),
        integer(epoch.decode("latin-1"), "Producer-Epoch", 0),
        integer(seq.decode("latin-1"), "Producer-Seq", 0),
    )


def producer_id(text: str) -> str:
    """Checks a producer's id. Raises ``BadRequest``."""
    return _token(text.encode(), "producer", PRODUCER_ID)


def shown(text: str) -> str:
    """A caller's own text as an error repeats it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _integer_or(found: Query, name: str, default: int) -> int:
    text = one(found, name)
    return default if text is None else integer(text, name, 1)


def _boolean(found: Query, name: str) -> bool:
    text = one(found, name)
    if text not in (None, "true", "false"):
        raise BadRequest(f"{name} must be true or false, not {shown(text)}")
    return text != "false"


def _leases(found: Query) -> tuple[str, ...]:
    values = found.get("lease")
    if values is None:
        raise BadRequest("lease is missing: name the lease, as lease=ID, once for each")
    return tuple(_lease(value, "lease") for value in values)


def _lease(text: str, name: str) -> str:
    if LEASE_ID.fullmatch(text) is None:
        raise BadRequest(f"{name} must be 1 to 64 of A-Z a-z 0-9 _ -, not {shown(text)}")
    return text


def _token(raw: bytes, name: str, pattern: re.Pattern[str]) -> str:
    text = raw.decode("latin-1")
    if pattern.fullmatch(text) is None:
        raise BadRequest(f"{name} must be 1 to 128 visible ASCII characters, not {shown(text)}")
    return text


def _choices(known: frozenset[str]) -> str:
    return f"there are {', '.join(sorted(known))}" if known else "there are none"
