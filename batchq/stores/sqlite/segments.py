"""Where blocks go in the file of lines: segments that are filled one after the other.

A block is put behind the one before it and stays where it is. A segment is filled anew
when none of its blocks is held any more, and nobody may still read one. Pure: no file here.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from batchq.model import KIB, MIB

SEGMENT: Final = 8 * MIB
"""Bytes of a segment; no block is larger."""

SMALLEST: Final = 64 * KIB
"""Smaller blocks are kept in the database: a file of its own costs them a second sync."""

ALIGN: Final = 4 * KIB
"""Blocks begin at multiples of this, so that the disk writes no sector of two of them."""


class Segments:
    """Tells places for blocks, lowest segments first, and remembers what is held.

    Attributes:
        held: bytes of all blocks.
        filled: numbers of the segments that were left since this was emptied.
    """

    def __init__(self) -> None:
        self.held = 0
        self.filled: list[int] = []
        self._held: list[int] = []
        self._free: list[int] = []
        self._vacated: list[int] = []
        self._open = -1
        self._at = SEGMENT
        self._placed: list[tuple[int, int]] = []
        self._opened: list[int] = []
        self._began = (self._open, self._at)

    def hold(self, place: int, size: int) -> None:
        """Takes over a block that is in the file at the start; ``start`` follows the last."""
        number = place // SEGMENT
        if number >= len(self._held):
            self._held.extend([0] * (number + 1 - len(self._held)))
        self._held[number] += size
        self.held += size

    def start(self) -> None:
        """Begins. Segments that are filled in part stay so until they are free."""
        self._free = [number for number, size in enumerate(self._held) if not size]

    @property
    def end(self) -> int:
        """Bytes up to the end of the last segment."""
        return len(self._held) * SEGMENT

    @property
    def free(self) -> list[int]:
        """Numbers of the segments that may be filled, in order."""
        return sorted(self._free)

    @property
    def free_bytes(self) -> int:
        """Bytes of the segments that may be filled, and what is left of the one that is."""
        return len(self._free) * SEGMENT + SEGMENT - self._at

    @property
    def vacated(self) -> bool:
        """Some segments are free once nobody can read them any more: see ``reuse``."""
        return bool(self._vacated)

    @property
    def used(self) -> list[int]:
        """Numbers of the segments that hold blocks and are not being filled, in order."""
        return [n for n, size in enumerate(self._held) if size and n != self._open]

    # One transaction

    def begin(self) -> None:
        """Begins a transaction: ``committed`` or ``roll_back`` follows."""
        self._placed.clear()
        self._opened.clear()
        self._began = (self._open, self._at)

    def place(self, size: int) -> int:
        """Gives a place for a block of this many bytes, at most ``SEGMENT``."""
        at = -(-self._at // ALIGN) * ALIGN
        if at + size > SEGMENT:
            if self._free:
                self._open = heappop(self._free)
            else:
                self._open = len(self._held)
                self._held.append(0)
            self._opened.append(self._open)
            at = 0
        self._at = at + size
        self._held[self._open] += size
        self.held += size
        place = self._open * SEGMENT + at
        self._placed.append((place, size))
        return place

    def roll_back(self) -> None:
        """Takes back what the transaction placed."""
        for place, size in self._placed:
            self._held[place // SEGMENT] -= size
            self.held -= size
        for number in self._opened:
            heappush(self._free, number)
        self._open, self._at = self._began
        self.begin()

    def committed(self, gone: list[tuple[int, int]]) -> None:
        """Keeps what the transaction placed; it removed these blocks (place and size)."""
        left = {place // SEGMENT for place, _ in gone}
        if self._opened:
            left.update((self._began[0], *self._opened))
            self.filled += [n for n in (self._began[0], *self._opened) if 0 <= n != self._open]
        for place, size in gone:
            self._held[place // SEGMENT] -= size
            self.held -= size
        self._vacated += [
            number for number in left if 0 <= number != self._open and not self._held[number]
        ]
        self.begin()

    # Between transactions

    def leave(self) -> None:
        """Leaves the segment that is being filled, if it holds nothing."""
        if self._open >= 0 and not self._held[self._open]:
            self._vacated.append(self._open)
            self._open, self._at = -1, SEGMENT

    def reuse(self) -> list[int]:
        """Lets vacated segments be filled: nobody reads them. Gives their numbers."""
        vacated, self._vacated = self._vacated, []
        self._free += vacated
        heapify(self._free)
        return vacated

    def trim(self, keep: int) -> int:
        """Forgets free segments at the end, but keeps so many; tells the new end in bytes."""
        free = set(self._free)
        while len(free) > keep and len(self._held) - 1 in free:
            free.discard(len(self._held) - 1)
            self._held.pop()
        self._free = sorted(free)
        return self.end
