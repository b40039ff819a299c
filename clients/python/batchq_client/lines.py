r"""Cuts a stream of bytes into batches that end at line ends.

Bytes come in pieces of any size and leave as they came: nothing is decoded, and no
object is made for a line. The same cases as those of the server's own cutter are tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NEWLINE: Final = b"\n"

_MUCH: Final = 512 * 1024 * 1024
"""Bytes after which lines are counted by numpy: four times as fast, and as long to import as it
takes to count half of these without."""


@dataclass(frozen=True, slots=True)
class Cut:
    r"""A batch of a stream.

    Attributes:
        data: whole lines; only the last batch may lack its last ``\n``.
        lines: how many.
    """

    data: bytes
    lines: int

    @property
    def unterminated(self) -> bool:
        r"""The last line has no ``\n``."""
        return bool(self.data) and not self.data.endswith(NEWLINE)


class LineTooLong(Exception):
    """A line does not fit into a request.

    Args:
        line: its number in the stream, from 1.
        held: bytes of it that have been seen, without its end.
        ended: the line is complete, so that ``held`` is its whole length.
    """

    def __init__(self, line: int, held: int, *, ended: bool) -> None:
        super().__init__(f"line {line} has {'' if ended else 'more than '}{held} bytes")
        self.line = line
        self.held = held
        self.ended = ended


class LineCutter:
    r"""Cuts batches of at most ``batch_bytes``, each at the last line end that fits.

    A line that is longer than that makes a batch of its own.

    Args:
        batch_bytes: bytes that a batch should have at most; at least 1.
        max_bytes: bytes that a batch may have at the very most, or None.

    Attributes:
        lines: lines given out so far.
    """

    __slots__ = ("_batch_bytes", "_counted", "_held", "_limit", "_long", "_pieces", "lines")

    def __init__(self, batch_bytes: int, max_bytes: int | None = None) -> None:
        self._batch_bytes = batch_bytes if max_bytes is None else min(batch_bytes, max_bytes)
        self._limit = max_bytes
        self._pieces: list[bytes] = []
        self._held = 0
        self._long = False  # what is held is the beginning of one line, longer than a batch
        self._counted = 0
        self.lines = 0

    @property
    def held(self) -> int:
        """Bytes that have come and not yet been given out."""
        return self._held

    def feed(self, piece: bytes) -> list[Cut]:
        """Takes bytes; gives the batches that are full.

        Raises:
            LineTooLong: a line is longer than ``max_bytes``, its end included.
        """
        if not piece:
            return []
        room = self._batch_bytes - self._held
        if 0 < room <= len(piece):
            end = piece.rfind(NEWLINE, 0, room) + 1
            if end:
                # Neither joined with what is behind it nor cut out of that: copied once.
                first = b"".join((*self._pieces, memoryview(piece)[:end]))
                return [self._batch(first), *self._cut(piece[end:])]
        self._pieces.append(piece)
        self._held += len(piece)
        # While one long line comes, only what is new is searched, and nothing is joined.
        if self._held < self._batch_bytes or (self._long and NEWLINE not in piece):
            self._check_open_line()
            return []
        return self._cut(self._join())

    def flush(self) -> Cut | None:
        """Gives the whole lines that are held, less than a batch of them, if there are any."""
        if self._long:
            return None
        data = self._join()
        end = data.rfind(NEWLINE) + 1
        self._keep(data[end:])
        return self._batch(data[:end]) if end else None

    def finish(self) -> Cut | None:
        r"""Gives what is left at the end of the stream; it may lack its last ``\n``."""
        data = self._join()
        self._keep(b"")
        return self._batch(data) if data else None

    def _cut(self, data: bytes) -> list[Cut]:
        batches = []
        start, stop, size = 0, len(data), self._batch_bytes
        self._long = False
        while stop - start >= size:
            end = data.rfind(NEWLINE, start, start + size) + 1
            if end == 0:
                end = data.find(NEWLINE, start + size) + 1
                if end == 0:
                    self._long = True
                    break
                if self._limit is not None and end - start > self._limit:
                    raise LineTooLong(self.lines + 1, end - start - 1, ended=True)
            batches.append(self._batch(data[start:end]))
            start = end
        self._keep(data[start:] if start else data)
        self._check_open_line()
        return batches

    def _batch(self, data: bytes) -> Cut:
        lines = self._count(data) + (not data.endswith(NEWLINE))
        self.lines += lines
        return Cut(data, lines)

    def _count(self, data: bytes) -> int:
        self._counted += len(data)
        if self._counted <= _MUCH:
            return data.count(NEWLINE)
        import numpy as np  # noqa: PLC0415  most copies are over by then

        return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(NEWLINE)))

    def _check_open_line(self) -> None:
        if self._long and self._limit is not None and self._held > self._limit:
            raise LineTooLong(self.lines + 1, self._held, ended=False)

    def _join(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _keep(self, rest: bytes) -> None:
        self._pieces = [rest] if rest else []
        self._held = len(rest)
        if not rest:
            self._long = False
