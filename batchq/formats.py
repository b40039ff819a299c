r"""Media types and batches: what a pushed body means, and how a pulled batch is written.

Text, ndjson and octet-stream are the payload byte for byte. JSON (RFC 8259) and
msgpack name each line by itself, so that a line may not hold ``\n`` there. Which form
an answer has is negotiated by ``Accept`` as RFC 9110, 12.5.1 tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it has no types of its own
import orjson

from batchq.errors import BadRequest, NotAcceptable, Unprocessable, UnsupportedMediaType
from batchq.lines import NEWLINE, count
from batchq.model import Batch, Pulled


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


_PAYLOAD_TYPES: Final = frozenset(
    (
        "",  # none given
        "text/plain",
        "application/x-ndjson",
        "application/octet-stream",
        "application/x-www-form-urlencoded",  # what `curl -d` and `--data-binary` send
    )
)

_Q: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
"""A weight (RFC 9110, 12.4.2)."""

_SHOWN: Final = 40
"""Characters of a caller's own text that are repeated in an error."""


# Bodies in


def batch_from(pieces: Sequence[bytes], content_type: str, content_encoding: str) -> Batch:
    r"""Makes a batch of a pushed body.

    Args:
        pieces: the body as it came, in order; joined once.
        content_type: the header's value, or an empty string.
        content_encoding: the header's value, or an empty string.

    Raises:
        UnsupportedMediaType: a type that is not taken, or a coding.
        BadRequest: JSON or msgpack that can't be read.
        Unprocessable: not an array of lines, or a line that holds ``\n``.
    """
    if content_encoding and content_encoding.strip().lower() != "identity":
        raise UnsupportedMediaType(
            f"Content-Encoding {_shown(content_encoding)} is not taken: send the body as it is"
        )
    kind = _media_type(content_type)
    if kind in _PAYLOAD_TYPES:
        return _from_payload(pieces)
    if kind == "application/json":
        return _from_json(b"".join(pieces))
    if kind == "application/msgpack":
        return _from_msgpack(b"".join(pieces))
    raise UnsupportedMediaType(
        f"Content-Type {_shown(content_type)} is not taken: send text/plain,"
        " application/x-ndjson, application/octet-stream, application/json or application/msgpack"
    )


def _from_payload(pieces: Sequence[bytes]) -> Batch:
    """Joins a payload once, with its missing last newline."""
    last = next((piece for piece in reversed(pieces) if piece), NEWLINE)
    if not last.endswith(NEWLINE):
        pieces = [*pieces, NEWLINE]
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return Batch(data, count(data))


def _from_json(body: bytes) -> Batch:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    lines = _lines_of(value, "lines", "string")
    try:
        data = "".join([f"{line}\n" for line in lines]).encode() if _all(lines, str) else None
    except UnicodeEncodeError:
        raise Unprocessable("a line holds half of a surrogate pair: it is not text") from None
    if data is None:
        raise Unprocessable(_not_lines("string"))
    return _checked(data, lines, "\n")


def _from_msgpack(body: bytes) -> Batch:
    try:
        # raw: str and bin both come as the bytes that they are.
        value = msgpack.unpackb(body, raw=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BadRequest(f"the body is not msgpack: {error}") from None
    lines = _lines_of(value, b"lines", "bin or str")
    if not _all(lines, bytes):
        raise Unprocessable(_not_lines("bin or str"))
    data = b"".join([line + NEWLINE for line in lines])
    return _checked(data, lines, NEWLINE)


def _lines_of(value: Any, key: str | bytes, kind: str) -> list[Any]:
    lines = value.get(key) if isinstance(value, dict) else value
    if not isinstance(lines, list):
        raise Unprocessable(_not_lines(kind))
    return lines


def _all(lines: list[Any], kind: type) -> bool:
    return all(type(line) is kind for line in lines)


def _checked(data: bytes, lines: list[Any], newline: str | bytes) -> Batch:
    if data.count(NEWLINE) != len(lines):
        index = next(index for index, line in enumerate(lines) if newline in line)
        raise Unprocessable(
            rf"line {index} (from 0) holds \n, which ends a line: cut there, or send text/plain"
        )
    return Batch(data, len(lines))


def _not_lines(kind: str) -> str:
    return f'the body is not lines: send an array of {kind}, or a map with such an array as "lines"'


# Batches out


def body_of(pulled: Pulled, form: Form) -> bytes:
    """Writes a pulled batch; the payload itself for the text forms."""
    if form is Form.TEXT or form is Form.NDJSON:
        return pulled.data
    lease = pulled.lease.id if pulled.lease is not None else None
    data = pulled.data
    lines: list[Any] = data.decode().split("\n") if form is Form.JSON else data.split(NEWLINE)
    lines.pop()  # what follows the last newline: nothing
    message = {
        "offset": pulled.offset,
        "position": pulled.position,
        "lines": lines,
        "lease": lease,
    }
    if form is Form.JSON:
        return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
    packed: bytes = msgpack.packb(message)
    return packed


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
            f"Accept {_shown(accept)} leaves nothing that can be given: ask for "
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
        raise BadRequest(f"Accept names {_shown(part)}, which is no media range")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            if _Q.fullmatch(value.strip()) is None:
                raise BadRequest(f"Accept gives {_shown(part)}: q must be from 0 to 1")
            return kind, float(value)
    return kind, 1.0


@lru_cache(maxsize=64)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
