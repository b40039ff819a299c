r"""Lines as msgpack: an array of bin or str, or a map that has one as ``lines``.

The message is fed to the unpacker a step at a time, and its lines are taken from it as
they come. It may nest nothing: beside the lines there are plain values only.
"""

from __future__ import annotations

from io import BytesIO
from itertools import islice
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it has no types of its own

from batchq.errors import BadRequest, BatchqError, Unprocessable
from batchq.formats.steps import STEP, UNBROKEN, Steps, block_of
from batchq.lines import NEWLINE
from batchq.model import Batch, Pulled

_MANY: Final = 8192
"""Lines that are taken at a time."""

_ARRAYS: Final = b"\xdc\xdd"
_MAPS: Final = b"\xde\xdf"
"""First bytes of the larger arrays and maps (msgpack's specification, "formats")."""

_NOT_LINES: Final = (
    "the body is not lines: send an array of bin or str, or a map with such an array as"
    ' "lines" and nothing but plain values beside it'
)


def read(body: bytes) -> Steps[Batch]:
    r"""Reads a pushed body.

    Raises:
        BadRequest: it is not msgpack.
        Unprocessable: it is no array of lines, or a line holds ``\n``.
    """
    try:
        return (yield from _read(body))
    except msgpack.OutOfData:
        raise BadRequest("the body is not msgpack: it breaks off") from None
    except msgpack.FormatError:
        raise BadRequest("the body is not msgpack: it holds a byte that begins nothing") from None
    except ValueError:
        # The unpacker's own word for another kind of value, or a nested one.
        raise Unprocessable(_NOT_LINES) from None


def _read(body: bytes) -> Steps[Batch]:
    # raw: str and bin both come as the bytes that they are.
    unpacker: Any = msgpack.Unpacker(
        raw=True, max_buffer_size=len(body), max_array_len=0, max_map_len=0, max_ext_len=0
    )
    view = memoryview(body)
    unpacker.feed(view[:STEP])
    fed = STEP
    try:
        count, members = _head(unpacker, body)
    except msgpack.OutOfData:
        if fed < len(body):
            raise Unprocessable(f"{_NOT_LINES}: there is too much before the lines") from None
        raise
    payload = BytesIO()
    lines = 0
    while lines < count:
        taken: list[Any] = list(islice(unpacker, min(_MANY, count - lines)))
        if taken:
            payload.write(_block(taken, lines))
            lines += len(taken)
        elif fed < len(body):
            unpacker.feed(view[fed : fed + STEP])
            fed += STEP
        else:
            raise msgpack.OutOfData
        if lines < count:
            yield
    if len(body) - fed > STEP:
        raise Unprocessable(f"{_NOT_LINES}: there is too much behind the lines")
    unpacker.feed(view[fed:])
    for _ in range(2 * members):
        unpacker.unpack()
    if unpacker.tell() != len(body):
        raise _surplus(len(body) - unpacker.tell())
    return Batch(payload.getvalue(), lines)


def _head(unpacker: Any, body: bytes) -> tuple[int, int]:
    """Reads all up to the first line.

    Returns:
        How many lines there are, and how many members of the map stand behind them.
    """
    first = body[0] if body else 0
    if first & 0xF0 == 0x90 or first in _ARRAYS:
        return unpacker.read_array_header(), 0
    if first & 0xF0 == 0x80 or first in _MAPS:
        members: int = unpacker.read_map_header()
        while members > 0:
            members -= 1
            if unpacker.unpack() == b"lines":
                return unpacker.read_array_header(), members
            unpacker.unpack()
    else:
        unpacker.unpack()
    raise Unprocessable(_NOT_LINES)


def _block(lines: list[Any], before: int) -> bytes:
    try:
        return block_of(lines, before)
    except TypeError:
        raise Unprocessable(_NOT_LINES) from None


def _surplus(size: int) -> BatchqError:
    return BadRequest(f"the body is not msgpack: {size} bytes too many at its end")


def write(pulled: Pulled) -> Steps[bytes]:
    """Writes a pulled batch, its lines as bin."""
    packer: Any = msgpack.Packer(autoreset=False)
    packer.pack_map_header(4)
    for value in ("offset", pulled.offset, "position", pulled.position, "lines"):
        packer.pack(value)
    packer.pack_array_header(pulled.lines)
    message = BytesIO()
    message.write(packer.bytes())
    data = pulled.data
    at = paused = 0
    while at < len(data):
        if at - paused >= UNBROKEN:
            paused = at
            yield
        end = data.find(NEWLINE, at + STEP) + 1 or len(data)
        lines = data[at : end - 1].split(NEWLINE)
        message.write(msgpack.packb(lines)[_header_size(len(lines)) :])
        at = end
    message.write(msgpack.packb("lease") + msgpack.packb(pulled.lease and pulled.lease.id))
    return message.getvalue()


def _header_size(length: int) -> int:
    """Bytes of the header of an array (msgpack's specification, "array family")."""
    if length < 1 << 4:
        return 1
    return 3 if length < 1 << 16 else 5
