r"""Lines as JSON: an array of strings, or a map that has one as ``lines``.

The text is cut into blocks of whole strings by an expression that knows no more of JSON
than where a string ends; orjson reads each block, and what is around the array. A string
that is longer than a step is cut between two of its characters, as each of them, escaped
or not, means the same wherever it stands.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Final

import orjson

from batchq.errors import BadRequest, BatchqError, Unprocessable
from batchq.formats.steps import STEP, UNBROKEN, Steps, holds_newline
from batchq.lines import NEWLINE
from batchq.model import KIB, Batch, Pulled

_SHELL: Final = 32 * KIB
"""Bytes that may stand before the array, and behind it: they are read at once.

A body of no more is read at once as well, where its fault is looked for."""

# Atomic groups and possessive characters: nothing is tried a second time. A group is not made
# possessive itself, as Python before 3.11.5 matches that wrongly (python/cpython#106052).
_SPACE: Final = rb"[ \t\n\r]*+"
_STRING: Final = rb'"(?>(?:[^"\\]++|\\.)*)"'
_MEMBER: Final = b"".join(
    (_SPACE, _STRING, _SPACE, rb":", _SPACE, rb"(?:", _STRING, rb'|[^\s"\[\]{},]++)', _SPACE)
)
"""A member of the map beside ``lines``: a plain value, no array and no map."""

_SPACES: Final = re.compile(_SPACE)

_HEAD: Final = re.compile(
    b"".join(
        (_SPACE, rb"(?:\[|\{(?>(?:", _MEMBER, rb",)*)", _SPACE, rb'"lines"', _SPACE, rb":", _SPACE)
    )
    + rb"\[)",
    re.DOTALL,
)
"""All up to the array's first element."""

_TAIL: Final = re.compile(
    b"".join((rb"\]", _SPACE, rb"(?:(?>(?:,", _MEMBER, rb")*)\}", _SPACE, rb")?")), re.DOTALL
)
"""All from the array's end on."""

_ELEMENTS: Final = re.compile(
    b"".join((rb"(?>(?:", _SPACE, _STRING, _SPACE, rb"(?:,|(?=\])))*)")), re.DOTALL
)
"""As many whole strings as there are, each with its comma, the last one without."""

_AFTER: Final = re.compile(rb",|(?=\])")

_CHARACTERS: Final = re.compile(
    rb'(?>(?:[^"\\\x80-\xff]++'
    rb"|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
    rb"|\\[^u]"
    rb"|\\u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|(?![dD][89abAB])[0-9a-fA-F]{4}))*)",
    re.DOTALL,
)
"""Whole characters of a string: never a part of UTF-8's bytes, of an escape, or of a pair."""

_VALUES: Final = frozenset(b"[{-0123456789tfn")
"""What a value begins with that is no string."""

_NOT_LINES: Final = (
    'the body is not lines: send an array of strings, or a map with such an array as "lines"'
    " and nothing but plain values beside it"
)


def read(body: bytes) -> Steps[Batch]:
    r"""Reads a pushed body.

    Raises:
        BadRequest: it is not JSON.
        Unprocessable: it is no array of lines, or a line holds ``\n``.
    """
    head = _HEAD.match(body, 0, _SHELL)
    if head is None:
        raise _fault(body, _end(_SPACES, body, 0), 0)
    start = at = head.end()
    payload = BytesIO()
    lines = 0
    expected = False  # a comma was the last
    while True:
        end = _end(_ELEMENTS, body, at)
        if end > at:
            texts = _loads(b"[%b]" % body[at : end - (body[end - 1] == ord(","))], at)
            payload.write(_block(texts, lines))
            lines += len(texts)
        else:
            at = yield from _past_space(body, at)
            if body[at : at + 1] != b'"':
                break
            end = yield from _long(body, at + 1, payload, lines)
            lines += 1
        expected = body[end - 1] == ord(",")
        at = end
        if len(body) - at > STEP:
            yield
    if expected or body[at : at + 1] != b"]":
        raise _fault(body, at, lines)
    _check_shell(body, start, at)
    return Batch(payload.getvalue(), lines)


def _end(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    """Where a match of a pattern that matches nothing as well ends, within a step."""
    found = pattern.match(body, at, at + STEP)
    return at if found is None else found.end()


def _past_space(body: bytes, at: int) -> Steps[int]:
    while (end := _end(_SPACES, body, at)) == at + STEP:
        at = end
        yield
    return end


def _long(body: bytes, at: int, payload: BytesIO, index: int) -> Steps[int]:
    """Reads a string that no step holds as a whole.

    Args:
        body: the text.
        at: index behind its opening quote.
        payload: where its bytes go.
        index: of the line.

    Returns:
        The index behind its comma, or that of the array's end.
    """
    while (end := _end(_CHARACTERS, body, at)) > at:
        piece: str = _loads(b'"%b"' % body[at:end], at)
        if "\n" in piece:
            raise holds_newline(index)
        payload.write(piece.encode())
        at = end
        yield
    if body[at : at + 1] != b'"':
        raise _broken(at)
    payload.write(NEWLINE)
    at = yield from _past_space(body, at + 1)
    found = _AFTER.match(body, at)
    if found is None:
        raise _broken(at)
    return found.end()


def _loads(text: bytes, at: int) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg}, behind byte {at}") from None


def _block(texts: list[str], before: int) -> bytes:
    block = ("\n".join(texts) + "\n").encode()
    if block.count(NEWLINE) != len(texts):
        raise holds_newline(before + next(i for i, text in enumerate(texts) if "\n" in text))
    return block


def _check_shell(body: bytes, start: int, stop: int) -> None:
    """Checks what is around the array's elements: the document with an empty array in place."""
    if len(body) - stop > _SHELL:
        raise Unprocessable(f"{_NOT_LINES}: there is too much behind the array")
    shell = _loads(body[:start] + body[stop:], stop)
    lines = shell.get("lines") if isinstance(shell, dict) else shell
    if lines != [] or _TAIL.fullmatch(body, stop) is None:
        raise Unprocessable(_NOT_LINES)


def _fault(body: bytes, at: int, lines: int) -> BatchqError:
    """Tells JSON that is no lines from what is no JSON.

    A short body is read to the end for that; of a long one it is told by what stands where
    a string should.
    """
    if len(body) <= _SHELL:
        _loads(body, 0)
        return Unprocessable(_NOT_LINES)
    if at < len(body) and body[at] in _VALUES:
        return Unprocessable(f"{_NOT_LINES}: line {lines} (from 0) is no string")
    return _broken(at)


def _broken(at: int) -> BadRequest:
    return BadRequest(f"the body is not JSON from byte {at} on")


def write(pulled: Pulled) -> Steps[bytes]:
    """Writes a pulled batch; every line of it is UTF-8."""
    shell = orjson.dumps(
        {
            "offset": pulled.offset,
            "position": pulled.position,
            "lines": [],
            "lease": None if pulled.lease is None else pulled.lease.id,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
    data = pulled.data
    before, _, behind = shell.partition(b"[]")
    text = BytesIO()
    text.write(before + b"[")
    at = paused = 0
    while at < len(data):
        if at - paused >= UNBROKEN:
            paused = at
            yield
        end = _between(data, at + STEP)
        block = orjson.dumps(data[at:end].decode().split("\n"))
        # Without the quotes where a line is cut, and without the line that the end has begun.
        text.write(block[1 if at == 0 else 2 : -4 if end == len(data) else -2])
        at = end
    text.write(b"]" + behind)
    return text.getvalue()


def _between(data: bytes, at: int) -> int:
    """Finds the last place up to ``at`` that is between two characters of UTF-8."""
    at = min(at, len(data))
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at
