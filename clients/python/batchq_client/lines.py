r"""Cuts a stream of bytes into batches that end at line ends.

Bytes come in pieces of any size and leave as they came: nothing is decoded, and no
object is made for a line. The same cases as those of the server's own cutter are tested.
"""

from __future__ import annotations

from typing import Final

NEWLINE: Final = b"\n"


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

    __slots__ = ("_batch_bytes", "_held", "_limit", "_long", "_pieces", "lines")

    def __init__(self, batch_bytes: int, max_bytes: int | None = None) -> None:
        self._batch_bytes = batch_bytes if max_bytes is None else min(batch_bytes, max_bytes)
        self._limit = max_bytes
        self._pieces: list[bytes] = []
        self._held = 0
        self._long = False  # what is held is the beginning of one line, longer than a batch
        self.lines = 0

    @property
    def held(self) -> int:
        """Bytes that have come and not yet been given out."""
        return self._held

    def feed(self, piece: bytes) -> list[bytes]:
        """Takes bytes; gives the batches that are full.

        Raises:
            LineTooLong: a line is longer than ``max_bytes``, its end included.
        """
        if not piece:
            return []
        self._pieces.append(piece)
        self._held += len(piece)
        # While one long line comes, only what is new is searched, and nothing is joined.
        if self._held < self._batch_bytes or (self._long and NEWLINE not in piece):
            self._check_open_line()
            return []
        return self._cut(self._join())

    def flush(self) -> bytes:
        """Gives the whole lines that are held, less than a batch of them; maybe none."""
        if self._long:
            return b""
        data = self._join()
        end = data.rfind(NEWLINE) + 1
        self._keep(data[end:])
        self.lines += data.count(NEWLINE, 0, end)
        return data[:end]

    def finish(self) -> bytes:
        r"""Gives all that is left at the end of the stream; it may lack its last ``\n``."""
        data = self._join()
        self._keep(b"")
        self.lines += data.count(NEWLINE) + (0 if data.endswith(NEWLINE) or not data else 1)
        return data

    def _cut(self, data: bytes) -> list[bytes]:
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
            batch = data[start:end]
            batches.append(batch)
            self.lines += batch.count(NEWLINE)
            start = end
        self._keep(data[start:] if start else data)
        self._check_open_line()
        return batches

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
