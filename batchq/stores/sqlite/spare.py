"""What keeps the file of lines small: segments used anew, and space given back.

Free segments at its end are cut off. What is free elsewhere goes back to the file system as
holes, where that has them; so does what is done with between blocks that are held.
"""

from __future__ import annotations

from typing import Final

import apsw

from batchq.model import MIB
from batchq.stores.sqlite.errors import is_full
from batchq.stores.sqlite.segments import ALIGN, SEGMENT
from batchq.stores.sqlite.transaction import Lines

_KEEP: Final = 256 * MIB // SEGMENT
"""Free segments that are kept for new lines: to write there again costs half."""

_STEP: Final = 16
"""Segments that are given back at once."""

_CACHED: Final = 1024 * MIB
"""Bytes of a backlog, the oldest, that are left to the page cache. More of it would take all of
the machine's memory, and to touch memory afresh costs more than the disk does."""

_LOOK_AFTER: Final = 64
"""Commits between looks at what may be given back, while there is more to write."""

_BUSY_SHARE: Final = 8
"""Free segments are given back meanwhile where they are so many times what is held."""


class Spare:
    """Looks after the file of lines between transactions, in the writer's thread.

    Args:
        connection: the writer's.
        lines: the file of lines, and what is where.
    """

    def __init__(self, connection: apsw.Connection, lines: Lines) -> None:
        self._db = connection
        self._file = lines.file
        self._segments = lines.segments
        self._durable = lines.used
        self._holes: set[int] = set()
        self._commits = 0
        self._waste = 0  # what the last look left
        self._deep = False  # a large backlog is there, or is being drained

    @property
    def reusable(self) -> int:
        """Bytes on the disk that are kept for new lines."""
        free = self._segments.free_bytes - len(self._holes) * SEGMENT
        return max(0, min(free, self._file.allocated - self._segments.held))

    def after_commit(self, *, all_of_it: bool) -> None:
        """Does what is due while there is more to write; gives ``all_of_it`` back, or some."""
        held = self._segments.held
        self._deep = held > _CACHED or (self._deep and held > 0)
        if self._durable:
            self._reuse()
        if held > _CACHED:
            self._uncache(self._segments.filled)
        self._segments.filled.clear()
        self._commits += 1
        if all_of_it:
            self._give_back(0)
        elif self._commits % _LOOK_AFTER == 0:
            if self._segments.held * _BUSY_SHARE < self._segments.free_bytes:
                self._give_back(_KEEP)
            self._give_back_between()

    def when_idle(self, *, all_of_it: bool) -> bool:
        """Does one step of what can wait; tells whether there is more to do."""
        self._segments.leave()
        if self._durable:
            self._reuse()
        return self._give_back(0 if all_of_it else _KEEP) or self._give_back_between()

    def synced(self) -> None:
        """Is told that all commits are on the disk, where they are not so by themselves."""
        self._reuse()

    def give_back_all(self) -> None:
        """Gives all back that is free."""
        while self._give_back(0):
            pass
        self._punch_between()

    def _reuse(self) -> None:
        if self._segments.vacated and self._file.unread:
            vacated = self._segments.reuse()
            if self._deep:
                self._uncache(vacated)
            self._holes &= set(self._segments.free)

    def _uncache(self, numbers: list[int]) -> None:
        for number in numbers:
            self._file.uncache(number * SEGMENT, SEGMENT)

    def _give_back(self, keep: int) -> bool:
        """Gives some free segments back, but keeps so many; tells whether there are more."""
        segments = self._segments
        self._file.truncate(segments.trim(keep))
        free = segments.free
        self._holes &= set(free)
        # The lowest are filled first.
        spare = [number for number in free[keep:] if number not in self._holes]
        for number in spare[:_STEP]:
            self._punch(number * SEGMENT, SEGMENT)
            self._holes.add(number)
        return len(spare) > _STEP and self._file.punches

    def _give_back_between(self) -> bool:
        """Gives back what is done with between blocks, where it is more than they are."""
        waste = self._wasted()
        enough = max(self._segments.held, _KEEP * SEGMENT)
        if waste > self._waste + enough and self._file.punches and self._file.unread:
            self._punch_between()
            self._waste = max(0, self._wasted())
        return False

    def _wasted(self) -> int:
        """Bytes on the disk that hold nothing and can't be filled yet."""
        return self._file.allocated - self._segments.held - self.reusable

    def _punch_between(self) -> None:
        used = set(self._segments.used)
        number, at = -1, 0
        for place, size in self._db.execute("SELECT place, size FROM extent ORDER BY place"):
            if place // SEGMENT != number:
                if number in used:
                    self._punch(at, (number + 1) * SEGMENT - at)
                number = place // SEGMENT
                at = number * SEGMENT
            if number in used:
                self._punch(at, place - at)
            at = -(-(place + size) // ALIGN) * ALIGN
        if number in used:
            self._punch(at, (number + 1) * SEGMENT - at)

    def _punch(self, place: int, size: int) -> None:
        if size <= 0:
            return
        try:
            self._file.punch(place, size)
        except OSError as error:
            if not is_full(self._db, error):
                raise
