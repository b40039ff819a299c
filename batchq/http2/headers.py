"""Field blocks: requests out of them, answers into them.

Answers are encoded without HPACK's dynamic table: every field is a literal that is not
indexed, so that a block depends on nothing that was sent before, and the encoded form of
a field can be kept. Requests are decoded by hpack; blocks that do not change its table
decode to the same fields until another block does, so their result is kept as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from h2.errors import ErrorCodes
from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from batchq.http2.frames import ConnectionFaultError

Header = tuple[bytes, bytes]

# RFC 9113 section 8.2.2
CONNECTION_FIELDS = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110 tokens without upper case
_BAD_VALUE = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
_DIGITS = re.compile(rb"[0-9]{1,18}")

# What a field costs beyond its text: RFC 7541 section 4.1.
_FIELD_OVERHEAD = 32

_CACHED_BLOCKS = 64
_CACHED_BLOCK_SIZE = 1024


class MalformedRequestError(Exception):
    """A request that ends its stream with PROTOCOL_ERROR (RFC 9113 section 8.1.1)."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's fields, checked.

    Attributes:
        method: as sent.
        target: the path with its query, as sent.
        path: the path, percent-decoded.
        raw_path: the path as sent.
        query: what follows the first ``?``.
        fields: ``host`` first, then all others in their order, cookies joined.
        content_length: of the field, or -1 without one.
        expect_continue: the client waits for a 100 before it sends its body.
        oversize: the fields are above the limit: answer 431 and look no further.
    """

    method: str
    target: bytes
    path: str
    raw_path: bytes
    query: bytes
    fields: list[Header]
    content_length: int
    expect_continue: bool
    oversize: bool


class RequestDecoder:
    """One connection's decoder.

    Args:
        max_list_size: bytes of a field list above which a request is marked as
            oversize; above four times that the connection can't go on.
    """

    __slots__ = ("_cache", "_decoder", "_limit")

    def __init__(self, max_list_size: int) -> None:
        self._limit = max_list_size
        self._decoder = Decoder(max_header_list_size=4 * max_list_size)
        self._cache: dict[bytes, RequestHead] = {}

    def request(self, block: bytes) -> RequestHead:
        """Decode the block that opens a request.

        Raises:
            ConnectionFaultError: the block can't be decoded, so that no later one can be.
            MalformedRequestError: it can, but is no request.
        """
        known = self._cache.get(block)
        if known is not None:
            return known
        entries = self._decoder.header_table.dynamic_entries
        newest, count = entries[0] if entries else None, len(entries)
        fields = self._decode(block)
        changed = len(entries) != count or (entries[0] if entries else None) is not newest
        if changed or len(self._cache) >= _CACHED_BLOCKS:
            self._cache.clear()
        head = _request_head(fields, oversize=_list_size(fields) > self._limit)
        # A size update leaves no trace in the entries of a small table: never kept.
        if not changed and len(block) <= _CACHED_BLOCK_SIZE and block[0] & 0xE0 != 0x20:
            self._cache[block] = head
        return head

    def discard(self, block: bytes) -> list[Header]:
        """Decode a block for the table's sake: trailers, or a stream that is no more.

        Raises:
            ConnectionFaultError: as for ``request``.
        """
        self._cache.clear()
        return self._decode(block)

    def _decode(self, block: bytes) -> list[Header]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._pairs(block)]
        except OversizedHeaderListError as error:
            raise ConnectionFaultError(
                ErrorCodes.ENHANCE_YOUR_CALM, "field list too large"
            ) from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFaultError(
                ErrorCodes.COMPRESSION_ERROR, "field block broken"
            ) from error

    def _pairs(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        return self._decoder.decode(block, raw=True)


def request_head(fields: list[Header]) -> RequestHead:
    """Check fields that came by another way than a field block (an upgraded request).

    Raises:
        MalformedRequestError: they are no request.
    """
    return _request_head(fields, oversize=False)


def _list_size(fields: list[Header]) -> int:
    return sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields)


def _request_head(fields: list[Header], *, oversize: bool) -> RequestHead:
    pseudo: dict[bytes, bytes] = {}
    regular: list[Header] = []
    for name, value in fields:
        if _BAD_VALUE.search(value):
            raise MalformedRequestError(f"bad value of {name!r}")
        if name[:1] == b":":
            if regular or name in pseudo or name not in _PSEUDO:
                raise MalformedRequestError(f"misplaced {name!r}")
            pseudo[name] = value
        else:
            _check_name(name, value)
            regular.append((name, value))
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not _NAME.fullmatch(method.lower()) or (method != b"CONNECT" and not _is_target(pseudo)):
        raise MalformedRequestError("no method, scheme or path")
    values = dict(regular)
    raw_path, _, query = target.partition(b"?")
    return RequestHead(
        method=method.decode("ascii"),
        target=target,
        path=unquote(raw_path.decode("latin-1")),
        raw_path=raw_path,
        query=query,
        fields=_application_fields(regular, pseudo.get(b":authority")),
        content_length=_content_length(regular),
        expect_continue=values.get(b"expect", b"").lower() == b"100-continue",
        oversize=oversize,
    )


def _check_name(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or name in CONNECTION_FIELDS:
        raise MalformedRequestError(f"field {name!r}")
    if name == b"te" and value.lower() != b"trailers":
        raise MalformedRequestError("te other than trailers")


def _is_target(pseudo: dict[bytes, bytes]) -> bool:
    path = pseudo.get(b":path", b"")
    return (
        bool(pseudo.get(b":scheme"))
        and path.isascii()
        and (path[:1] == b"/" or (path == b"*" and pseudo[b":method"] == b"OPTIONS"))
    )


def _content_length(fields: list[Header]) -> int:
    lengths = {value for name, value in fields if name == b"content-length"}
    if not lengths:
        return -1
    length = lengths.pop()
    if lengths or not _DIGITS.fullmatch(length):
        raise MalformedRequestError("content-length")
    return int(length)


def _application_fields(fields: list[Header], authority: bytes | None) -> list[Header]:
    host = b""
    cookies: list[bytes] = []
    others: list[Header] = []
    for name, value in fields:
        if name == b"host":
            host = value
        elif name == b"cookie":
            cookies.append(value)
        else:
            others.append((name, value))
    if cookies:  # RFC 9113 section 8.2.3
        others.append((b"cookie", b"; ".join(cookies)))
    return [(b"host", host if authority is None else authority), *others]


# --- answers ---------------------------------------------------------------------

# Both ends start with a table of 4096 bytes; the first block says that ours stays empty.
NO_DYNAMIC_TABLE = b"\x20"

_STATIC_NAMES: dict[bytes, int] = {}
for _index, (_name, _value) in enumerate(HeaderTable.STATIC_TABLE, start=1):
    _STATIC_NAMES.setdefault(_name, _index)
_STATUS_INDEX = {
    value: index
    for index, (name, value) in enumerate(HeaderTable.STATIC_TABLE, start=1)
    if name == b":status"
}
_SENSITIVE = frozenset((b"set-cookie", b"authorization", b"proxy-authorization"))


@lru_cache(maxsize=64)
def encode_status(status: int) -> bytes:
    """Return the encoded ``:status``."""
    text = b"%d" % status
    index = _STATUS_INDEX.get(text)
    if index is not None:
        return bytes((0x80 | index,))
    return _name_prefix(b":status") + _string(text)


@lru_cache(maxsize=256)
def _name_prefix(name: bytes) -> bytes:
    # RFC 7541 section 6.2.2 (not indexed) and 6.2.3 (never indexed, for secrets).
    mark = 0x10 if name in _SENSITIVE else 0x00
    index = _STATIC_NAMES.get(name)
    if index is None:
        return bytes((mark,)) + _string(name)
    return bytes(_integer(index, 4, mark))


def _integer(value: int, prefix: int, mark: int) -> bytearray:
    # RFC 7541 section 5.1
    limit = (1 << prefix) - 1
    if value < limit:
        return bytearray((mark | value,))
    out = bytearray((mark | limit,))
    value -= limit
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return out


def _string(text: bytes) -> bytes:
    if len(text) < 0x7F:
        return bytes((len(text),)) + text
    return bytes(_integer(len(text), 7, 0x00)) + text


def encode_fields(fields: Iterable[Header]) -> bytes:
    """Return the encoded fields of an answer.

    Fields that belong to a connection (RFC 9113 section 8.2.2) are left out: applications
    written for HTTP/1.1 set them.

    Raises:
        ValueError: a name is empty or a pseudo-header, or a value holds NUL, CR or LF.
        TypeError: a name or a value is not bytes.
    """
    out: list[bytes] = []
    for name, value in fields:
        out.append(_encode_field(name, value) if len(value) > 64 else _encode_cached(name, value))
    return b"".join(out)


def _encode_field(name: bytes, value: bytes) -> bytes:
    lower, text = bytes(name).strip().lower(), bytes(value).strip()
    if not _NAME.fullmatch(lower):
        raise ValueError(f"{name!r} is no field name")
    if _BAD_VALUE.search(text):
        raise ValueError(f"the value of {name!r} holds a control byte")
    if lower in CONNECTION_FIELDS:
        return b""
    return _name_prefix(lower) + _string(text)


_encode_cached = lru_cache(maxsize=512)(_encode_field)
