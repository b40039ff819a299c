"""Bodies by their media type, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from batchq.errors import UnsupportedMediaType
from batchq.formats import json_lines, msgpack_lines
from batchq.formats.accept import Form, shown
from batchq.formats.steps import Steps
from batchq.lines import NEWLINE, count
from batchq.model import KIB, Batch, Pulled

_PAYLOAD_TYPES: Final = frozenset(
    (
        "",  # none given
        "text/plain",
        "application/x-ndjson",
        "application/octet-stream",
        "application/x-www-form-urlencoded",  # what `curl -d` and `--data-binary` send
    )
)

_READERS: Final = {Form.JSON.value: json_lines.read, Form.MSGPACK.value: msgpack_lines.read}

_LARGE: Final = 64 * KIB
"""Bytes of pieces, on average, from which on each is counted by itself: a call costs as much as
the counting of some KiB."""


def check_type(content_type: str, content_encoding: str) -> None:
    """Refuses a body that is not taken, before it is received.

    Args:
        content_type: the header's value, or an empty string.
        content_encoding: the header's value, or an empty string.

    Raises:
        UnsupportedMediaType: a type that is not taken, or a coding.
    """
    if content_encoding and content_encoding.strip().lower() != "identity":
        raise UnsupportedMediaType(
            f"Content-Encoding {shown(content_encoding)} is not taken: send the body as it is"
        )
    kind = _media_type(content_type)
    if kind not in _PAYLOAD_TYPES and kind not in _READERS:
        raise UnsupportedMediaType(
            f"Content-Type {shown(content_type)} is not taken: send text/plain,"
            " application/x-ndjson, application/octet-stream, application/json or"
            " application/msgpack"
        )


def batch_from(pieces: Sequence[bytes], content_type: str) -> Steps[Batch]:
    r"""Makes a batch of a pushed body.

    Args:
        pieces: the body as it came, in order; joined once.
        content_type: the header's value, one that ``check_type`` lets pass.

    Raises:
        BadRequest: JSON or msgpack that can't be read.
        Unprocessable: not an array of lines, or a line that holds ``\n``.
    """
    kind = _media_type(content_type)
    if kind in _PAYLOAD_TYPES:
        return _payload(pieces)
    read = _READERS[kind]
    body = b"".join(pieces)
    del pieces
    return (yield from read(body))


def body_of(pulled: Pulled, form: Form) -> Steps[bytes]:
    """Writes a pulled batch; the payload itself for the text forms."""
    if form.plain:
        return pulled.data
    write = json_lines.write if form is Form.JSON else msgpack_lines.write
    return (yield from write(pulled))


def _payload(pieces: Sequence[bytes]) -> Batch:
    """Joins a payload once, with its missing last newline."""
    last = next((piece for piece in reversed(pieces) if piece), NEWLINE)
    if not last.endswith(NEWLINE):
        pieces = [*pieces, NEWLINE]
    # Pieces that were just read are in the processor's cache; what they are joined to is not.
    large = sum(map(len, pieces)) >= _LARGE * len(pieces)
    lines = sum(map(count, pieces)) if large else 0
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return Batch(data, lines if large else count(data))


@lru_cache(maxsize=64)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
