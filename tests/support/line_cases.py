r"""Cases for whatever cuts bytes into lines, as data: the client's cutter and ``batchq.lines``.

Each case is a payload with its count of lines, an unterminated last one included.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class LineCase(NamedTuple):
    """A payload.

    Attributes:
        name: what is special about it.
        data: the bytes.
        lines: how many lines they are.
    """

    name: str
    data: bytes
    lines: int


LINE_CASES: Final = (
    LineCase("empty", b"", 0),
    LineCase("one-newline", b"\n", 1),
    LineCase("only-empty-lines", b"\n\n\n", 3),
    LineCase("one-line", b"abc\n", 1),
    LineCase("no-last-newline", b"a\nb", 2),
    LineCase("one-byte", b"x", 1),
    LineCase("crlf", b"a\r\nb\r\n", 2),
    LineCase("lone-cr", b"a\rb\rc\n", 1),
    LineCase("cr-at-the-end", b"a\r", 1),
    LineCase("nul", b"\0\n\0\0\n", 2),
    LineCase("not-utf8", b"\xff\xfe\n\x80\n", 2),
    LineCase("other-separators", "a\u2028b\u0085c\x0bd\x0c\x1c\x1d\x1e\n".encode(), 1),
    LineCase("utf8", "å\n日本語\n🎉".encode(), 3),
    LineCase("empty-lines-between", b"a\n\n\nb\n", 4),
    LineCase("spaces", b"  \n\t\n ", 3),
    LineCase("long-between-short", b"a\n" + b"x" * 5000 + b"\nb\n", 3),
    LineCase("long-unterminated", b"a\n" + b"y" * 5000, 2),
    LineCase("every-byte", bytes(range(256)), 2),
)
