"""Which form a pulled batch is given in: ``Accept`` as RFC 9110, 12.5.1 tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Final

from batchq.errors import BadRequest, NotAcceptable


class Form(Enum):
    """A form that a pulled batch can have; the value is its media type.

    The order is the server's preference between forms that the client likes equally.
    """

    TEXT = "text/plain"
    NDJSON = "application/x-ndjson"
    JSON = "application/json"
    MSGPACK = "application/msgpack"

    @property
    def utf8(self) -> bool:
        """Whether only lines of UTF-8 can be given in this form."""
        return self is Form.JSON

    @property
    def plain(self) -> bool:
        """Whether this form is the payload itself, byte for byte."""
        return self is Form.TEXT or self is Form.NDJSON


_Q: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
"""A weight (RFC 9110, 12.4.2)."""

_SHOWN: Final = 40
"""Characters of a caller's own text that are repeated in an error."""


@lru_cache(maxsize=64)
def negotiate(accept: str) -> Form:
    """Chooses the form of a pulled batch.

    The highest weight wins, then the more specific range, then what the client named
    first, then the server's preference.

    Args:
        accept: the header's value; empty means that anything will do.

    Raises:
        BadRequest: the header can't be read.
        NotAcceptable: it leaves no form that can be given.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return Form.TEXT
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen: Form | None = None
    for form in Form:
        rank = _rank(form.value, ranges)
        if rank[0] > 0.0 and (chosen is None or rank > best):
            best, chosen = rank, form
    if chosen is None:
        raise NotAcceptable(
            f"Accept {shown(accept)} leaves nothing that can be given: ask for "
            + ", ".join(form.value for form in Form)
        )
    return chosen


def _rank(kind: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int, int]:
    """A form's weight, by the most specific range that holds it; (0, …) for none."""
    main = kind.partition("/")[0]
    patterns = ("*/*", f"{main}/*", kind)
    specific, weight, place = -1, 0.0, 0
    for index, (pattern, q) in enumerate(ranges):
        if pattern in patterns and patterns.index(pattern) > specific:
            specific, weight, place = patterns.index(pattern), q, -index
    return weight, specific, place


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    main, slash, sub = kind.partition("/")
    if not (main and slash and sub) or (main == "*" and sub != "*"):
        raise BadRequest(f"Accept names {shown(part)}, which is no media range")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            if _Q.fullmatch(value.strip()) is None:
                raise BadRequest(f"Accept gives {shown(part)}: q must be from 0 to 1")
            return kind, float(value)
    return kind, 1.0


def shown(text: str) -> str:
    """A caller's own text as an error repeats it."""
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
