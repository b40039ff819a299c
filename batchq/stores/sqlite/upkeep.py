"""What keeps the files small: checkpoints that bound the WAL, and free space given back."""

from __future__ import annotations

import resource
from typing import Final

import apsw

from batchq.model import MIB
from batchq.stores.sqlite.errors import is_full
from batchq.stores.sqlite.schema import PAGE_SIZE
from batchq.stores.sqlite.spare import Spare
from batchq.stores.sqlite.transaction import Lines

_CHECKPOINT_PAGES: Final = 32 * MIB // PAGE_SIZE
"""WAL size at which it is checkpointed: the file may pass it by one transaction."""

_LIMIT_SHARE: Final = 8
"""Where files may not grow beyond a size, the WAL is checkpointed at one in so many of it.
What is left of it takes the pages that move so that the file gets below the size again."""

_TIDY_PAGES: Final = 4 * MIB // PAGE_SIZE
"""WAL size at which an idle store checkpoints; and what it grows by until another checkpoint is
tried, where one could not make it start anew."""

_KEEP_FREE: Final = 64 * MIB // PAGE_SIZE
"""Free pages that are kept for new lines."""

_GIVE_BACK_STEP: Final = 4 * MIB // PAGE_SIZE
"""Free pages that are given back at once: pages behind them have to move."""


_LOOK_AFTER: Final = 8
"""Commits between looks at the database's free pages, where they only free some. A look after
each would hold up the next: it asks SQLite several things, and waits its turn each time."""

_IDLE_SHARE: Final = 2
_BUSY_SHARE: Final = 8
"""Free pages are given back when at most one page in so many is in use. Those in use may have
to move: while there is more to write, only where few can."""


class Upkeep:
    """Looks after the file between transactions, in the writer's thread.

    Args:
        connection: the writer's.
        lines: where large blocks go.

    Attributes:
        stuck: the last checkpoint found no room on the disk: what room the WAL has left is
            for changes that free some.
    """

    def __init__(self, connection: apsw.Connection, lines: Lines) -> None:
        self._db = connection
        self._spare = Spare(connection, lines)
        self._checkpoint_pages = min(_CHECKPOINT_PAGES, _limit_pages() // _LIMIT_SHARE)
        self._due = self._checkpoint_pages
        self._wal_pages = 0
        self._moved = True
        self._shrunk = False
        self._commits = 0
        self.stuck = False
        connection.set_wal_hook(self._note_wal)

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._wal_pages:  # it started anew
            self._due = self._checkpoint_pages
        self._wal_pages = pages
        self._moved = False
        return apsw.SQLITE_OK

    @property
    def _free_pages(self) -> int:
        return int(self._db.pragma("freelist_count"))

    @property
    def reusable(self) -> int:
        """Bytes on the disk that hold nothing, and are kept for new lines."""
        return self._free_pages * PAGE_SIZE + self._spare.reusable

    def after_commit(self, *, frees: bool) -> bool:
        """Does what is due while there is more to write. Raises what a checkpoint raises.

        Args:
            frees: the commit took no room in the files.

        Returns:
            Whether what is told of that room may be too much, or far too little, now.
        """
        self._spare.after_commit(all_of_it=self.stuck)
        self._commits += 1
        looks = self.stuck or not frees or self._commits % _LOOK_AFTER == 0
        if looks:
            self._give_back(_BUSY_SHARE)
        if self.stuck or self._wal_pages >= self._due:
            self.checkpoint()
            return True
        return looks

    def synced(self) -> None:
        """Is told that all commits are on the disk, where they are not so by themselves."""
        self._spare.synced()

    def when_idle(self) -> bool:
        """Does one step of what can wait; tells whether there may be more to do."""
        if self._spare.when_idle(all_of_it=self.stuck) or self._give_back(_IDLE_SHARE):
            return True
        worth_it = self._shrunk or self._wal_pages >= _TIDY_PAGES
        if self.stuck or (worth_it and not self._moved):
            self._shrunk = False
            self.checkpoint()
        return False

    def checkpoint(self) -> bool:
        """Moves the WAL's pages to the file; tells whether all of them are there.

        Then the WAL starts anew, unless somebody still reads it. For readers nothing waits, who
        may take as long as a backup does: the WAL grows meanwhile.

        A full disk leaves the pages where they are, and nothing is lost: later ones find room,
        or all calls that need some are told. Any other failure is raised.
        """
        self._due = max(self._checkpoint_pages, self._wal_pages + _TIDY_PAGES)
        try:
            frames, moved = self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return False  # another process does one
        except apsw.Error as error:
            if not is_full(self._db, error):
                raise
            self.stuck = True
            return False
        self.stuck = False
        self._moved = frames == moved
        return self._moved

    def finish(self) -> None:
        """Empties the WAL: the store is about to be closed."""
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return  # somebody reads; the WAL stays, and is read at the next start
        except apsw.Error as error:
            if not is_full(self._db, error):
                raise

    def _give_back(self, share: int) -> bool:
        """Gives some pages back where at most one in ``share`` is used; tells whether it did."""
        free = self._free_pages
        if not self.stuck:
            used = int(self._db.pragma("page_count")) - free
            if free <= _KEEP_FREE or used * share >= used + free:
                return False
            free -= _KEEP_FREE
        if free == 0:
            return False
        step = min(_GIVE_BACK_STEP, free)
        try:
            for _ in self._db.execute(f"PRAGMA incremental_vacuum({step})"):
                pass
        except apsw.Error as error:
            if not is_full(self._db, error):
                raise
            return False
        self._shrunk = True
        return True


def _limit_pages() -> int:
    """Pages that a file may have (RLIMIT_FSIZE)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return (limit if limit != resource.RLIM_INFINITY else 1 << 62) // PAGE_SIZE
