"""Frames as bytes: types, flags, and the few frames that a server sends.

Nothing here knows a connection's state. RFC 9113 section 6 has the layouts.
"""

from __future__ import annotations

import struct

from h2.errors import ErrorCodes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

SETTINGS_HEADER_TABLE_SIZE = 0x1
SETTINGS_ENABLE_PUSH = 0x2
SETTINGS_MAX_CONCURRENT_STREAMS = 0x3
SETTINGS_INITIAL_WINDOW_SIZE = 0x4
SETTINGS_MAX_FRAME_SIZE = 0x5
SETTINGS_MAX_HEADER_LIST_SIZE = 0x6

HEADER_SIZE = 9
HIGHEST_STREAM = 2**31 - 1

# Length in two pieces (its high 16 and low 8 bits), type, flags, stream.
_HEADER = struct.Struct(">HBBBL")
_SETTING = struct.Struct(">HL")
_RST = struct.Struct(">HBBBLL")
_GOAWAY = struct.Struct(">LL")

unpack_header = _HEADER.unpack_from
unpack_u32 = struct.Struct(">L").unpack_from


class ConnectionFaultError(Exception):
    """The client broke a rule that ends the connection (RFC 9113 section 5.4.1).

    Args:
        code: the error that GOAWAY carries.
        reason: its debug data, for whoever reads a trace.
    """

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes that open a frame."""
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    body = b"".join(_SETTING.pack(key, value) for key, value in values.items())
    return header(len(body), SETTINGS, 0, 0) + body


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the settings of a frame's payload in their order.

    Raises:
        ConnectionFaultError: the length is no multiple of six.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFaultError(ErrorCodes.FRAME_SIZE_ERROR, "SETTINGS of an odd length")
    return list(_SETTING.iter_unpack(payload))


def rst_stream(stream_id: int, code: ErrorCodes) -> bytes:
    """Return a RST_STREAM frame."""
    return _RST.pack(0, 4, RST_STREAM, 0, stream_id, code)


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return _RST.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def goaway(last_stream_id: int, code: ErrorCodes, reason: str = "") -> bytes:
    """Return a GOAWAY frame; streams above the last one were not touched."""
    body = _GOAWAY.pack(last_stream_id, code) + reason.encode()
    return header(len(body), GOAWAY, 0, 0) + body


def ping(payload: bytes, *, ack: bool) -> bytes:
    """Return a PING frame, or the answer to one."""
    return header(8, PING, ACK if ack else 0, 0) + payload


SETTINGS_ACK = header(0, SETTINGS, ACK, 0)


def header_block(stream_id: int, block: bytes, flags: int, max_frame_size: int) -> bytes:
    """Return a field block as one HEADERS frame and the CONTINUATIONs that it needs."""
    if len(block) <= max_frame_size:
        return header(len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    pieces = [block[at : at + max_frame_size] for at in range(0, len(block), max_frame_size)]
    out = [header(len(pieces[0]), HEADERS, flags, stream_id), pieces[0]]
    for piece in pieces[1:-1]:
        out += (header(len(piece), CONTINUATION, 0, stream_id), piece)
    out += (header(len(pieces[-1]), CONTINUATION, END_HEADERS, stream_id), pieces[-1])
    return b"".join(out)


def strip_padding(payload: bytes, flags: int) -> bytes:
    """Return a HEADERS payload without its padding and priority fields.

    Raises:
        ConnectionFaultError: the padding is longer than the payload, or fields are missing.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFaultError(ErrorCodes.FRAME_SIZE_ERROR, "no pad length")
        start, end = 1, end - payload[0]
    if flags & PRIORITY_FLAG:
        start += 5
    if start > end:
        raise ConnectionFaultError(ErrorCodes.PROTOCOL_ERROR, "padding longer than the frame")
    return payload[start:end] if start or end != len(payload) else payload
