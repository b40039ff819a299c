"""A queue's payload as readers got it, put together again, and streams compared."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

import xxhash

_CLIP: Final = 60
_CHUNK: Final = 1024 * 1024


class Piece(Protocol):
    """Lines that arrived together."""

    @property
    def lines(self) -> int:
        """How many, as told."""

    @property
    def data(self) -> bytes:
        """Their bytes."""


def clipped(line: bytes) -> str:
    """A line for a message."""
    return repr(line) if len(line) <= _CLIP else f"{line[:_CLIP]!r}… ({len(line)} B)"


class Stream:
    """Pieces by position, each line once.

    Args:
        problems: gets a sentence for everything that does not fit together.
    """

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._data: list[memoryview] = []
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._told_end = (0, 0)
        self.lines = 0
        self.bytes = 0

    def add(self, offset: int, position: int, piece: Piece) -> bool:
        """Adds a piece; they come in the order of their positions.

        ``lines`` and ``bytes`` count what is there. They are the next offset and position
        as long as nothing is missing; behind a gap the stream goes on without it.

        Returns:
            Whether some of its lines were there before.
        """
        counted = piece.data.count(b"\n")
        if counted != piece.lines or not piece.data.endswith(b"\n"):
            self._problems.append(
                f"at offset {offset}: told {piece.lines} lines, holds {counted} line ends "
                f"in {len(piece.data)} B"
            )
        end_offset, end_position = self._told_end
        known = end_position - position
        if known <= 0:
            if (offset, position) != self._told_end:
                self._problems.append(
                    f"offset {offset} at position {position} follows on "
                    f"{end_offset} at {end_position}"
                )
            self._append(piece.data, 0, offset, position)
            return False
        self._check_again(offset, position, piece.data[:known])
        if known < len(piece.data):
            again = piece.data.count(b"\n", 0, known)
            if offset + again != end_offset or piece.data[known - 1 : known] != b"\n":
                self._problems.append(
                    f"the lines from offset {offset} at position {position} have other "
                    f"borders than before at offset {end_offset}"
                )
            self._append(piece.data, known, end_offset, end_position)
        return True

    def _append(self, data: bytes, skip: int, offset: int, position: int) -> None:
        rest = memoryview(data)[skip:]
        lines = data.count(b"\n", skip)
        self._data.append(rest)
        self._starts.append(self.bytes)
        self._offsets.append(self.lines)
        self.bytes += len(rest)
        self.lines += lines
        self._told_end = (offset + lines, position + len(rest))

    def _check_again(self, offset: int, position: int, again: bytes) -> None:
        """Compares lines that are there with what came again."""
        behind = self._told_end[1] - self.bytes
        at = position - behind
        if at < 0 or not self.has(at, again):
            self._problems.append(
                f"the lines at offset {offset} (position {position}) came again as other ones"
            )
        elif self.offset(at) != offset - (self._told_end[0] - self.lines):
            self._problems.append(
                f"position {position} came again as offset {offset}, and not {self.offset(at)}"
            )

    def _index(self, at: int) -> int:
        return bisect_right(self._starts, at) - 1

    def views(self, at: int, size: int) -> Iterator[memoryview]:
        """The bytes from ``at``, at most ``size`` of them."""
        index = self._index(at)
        while size > 0 and 0 <= index < len(self._data):
            skip = max(0, at - self._starts[index])
            view = self._data[index][skip : skip + size]
            yield view
            size -= len(view)
            index += 1

    def has(self, at: int, data: bytes) -> bool:
        """Whether these bytes are there."""
        if at + len(data) > self.bytes:
            return False
        done = 0
        for view in self.views(at, len(data)):
            # As bytes: memory views are compared byte by byte, a hundred times slower.
            if bytes(view) != data[done : done + len(view)]:
                return False
            done += len(view)
        return True

    def line(self, at: int) -> bytes:
        """The line there, with its end."""
        found = bytearray()
        for view in self.views(at, self.bytes - at):
            for start in range(0, len(view), _CHUNK):
                piece = bytes(view[start : start + _CHUNK])
                head, end, _ = piece.partition(b"\n")
                found += head + end
                if end:
                    return bytes(found)
        return bytes(found)

    def offset(self, at: int) -> int:
        """How many lines come before a position."""
        index = self._index(at)
        if index < 0:
            return 0
        head = self._data[index][: at - self._starts[index]]
        return self._offsets[index] + bytes(head).count(b"\n")

    def digest(self, *, unterminated: bool = False) -> str:
        r"""``xxh3-128:<hex>``, without the last ``\n`` where that was added."""
        digest = xxhash.xxh3_128()
        size = self.bytes - 1 if unterminated else self.bytes
        for view in self.views(0, size):
            digest.update(view)
        return f"xxh3-128:{digest.hexdigest()}"


def difference(expected: Iterable[bytes], actual: Iterable[bytes]) -> str | None:
    """Compares two streams, however they are cut, and tells where they first differ."""
    position = lines = 0
    left, right = iter(expected), iter(actual)
    ours = theirs = b""
    while True:
        ours = ours or next((piece for piece in left if piece), b"")
        theirs = theirs or next((piece for piece in right if piece), b"")
        size = min(len(ours), len(theirs))
        if ours[:size] != theirs[:size] or not size:
            break
        position += size
        lines += ours.count(b"\n", 0, size)
        ours, theirs = ours[size:], theirs[size:]
    if not ours and not theirs:
        return None
    same = next((i for i in range(size) if ours[i] != theirs[i]), size)
    position += same
    lines += ours.count(b"\n", 0, same)
    return (
        f"they differ from byte {position} on (in line {lines}): expected "
        f"{clipped(ours[same:]) if ours[same:] else 'the end'}, got "
        f"{clipped(theirs[same:]) if theirs[same:] else 'the end'}"
    )


def assert_identical(source: Path, destination: Path) -> None:
    """Passes where two files hold the same bytes.

    Raises:
        AssertionError: with the first difference.
    """
    with source.open("rb") as ours, destination.open("rb") as theirs:
        found = difference(_pieces(ours.read), _pieces(theirs.read))
    assert found is None, f"{source} and {destination}: {found}"


class _Read(Protocol):
    def __call__(self, size: int, /) -> bytes: ...


def _pieces(read: _Read) -> Iterator[bytes]:
    return iter(lambda: read(_CHUNK), b"")


def lines_of(pieces: Iterable[bytes]) -> list[bytes]:
    """The lines of a payload, without their ends: an object each."""
    return b"".join(chain(pieces)).split(b"\n")[:-1]


def digest_of(pieces: Iterable[bytes]) -> str:
    """``xxh3-128:<hex>``, as a close tells it."""
    digest = xxhash.xxh3_128()
    for piece in pieces:
        digest.update(piece)
    return f"xxh3-128:{digest.hexdigest()}"
