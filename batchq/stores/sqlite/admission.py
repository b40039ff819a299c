"""What a file has no room for, or can't hold: refused before anything is decided."""

from __future__ import annotations

from typing import Final

import apsw

from batchq.broker import Life
from batchq.errors import QueueFull, TooLarge, TooManyQueues
from batchq.model import PushRequest
from batchq.stores.sqlite.errors import disk_full
from batchq.stores.sqlite.rows import LifeRows
from batchq.stores.sqlite.schema import MAX_LIVES, MAX_OFFSET
from batchq.stores.sqlite.space import Reserve

_SPARE_LIVES: Final = 1024
"""New queues are refused when fewer numbers than this are free, so that a life never lacks one."""

_ROW_BYTES: Final = 1024
"""Bytes of a row that its other columns may take, at most."""


class Admission:
    """Tells whether the file can take what a caller asks for.

    Args:
        path: the file, for people.
        reserve: knows what room the disk has.
        rows: what is in the file.
        longest: bytes of the longest line that a row can hold.
    """

    def __init__(self, path: str, reserve: Reserve, rows: LifeRows, longest: int) -> None:
        self._path = path
        self._reserve = reserve
        self._rows = rows
        self._longest = longest

    def push(self, life: Life | None, request: PushRequest, pending: int) -> None:
        """Looks whether a batch can be stored.

        Args:
            life: the queue's life with what is decided for it; None where the push begins one.
            request: the push.
            pending: changes that are decided and not yet committed.

        Raises:
            TooManyQueues: see ``new_life``.
            DiskFull: the reserve is reached.
            QueueFull: the life would have more lines than the file can count.
            TooLarge: a line is longer than a row can hold.
        """
        if not _cuts(request.batch.data, self._longest):
            raise TooLarge(
                f"a SQLite store holds lines of up to {self._longest} bytes; cut the longer one"
            )
        if life is None:
            self.new_life(pending)
        if _needs_no_room(life, request):
            return
        if self._reserve.low:
            raise disk_full(self._path)
        if life is not None and life.staged.offset + request.batch.lines > MAX_OFFSET:
            raise QueueFull(
                f"queue {life.name!r} has had {life.staged.offset} lines, and a SQLite store "
                f"counts up to {MAX_OFFSET}; close or delete it, and push to a new one",
                queue_id=life.id,
            )

    def new_life(self, pending: int) -> None:
        """Looks whether a new life gets a number, after all that may need one before it.

        Raises:
            TooManyQueues: it may not.
        """
        used = self._rows.used
        if used + pending + _SPARE_LIVES >= MAX_LIVES:
            raise TooManyQueues(
                f"the file holds {used} queues and records of ended ones, as many as it can; "
                "records go after --keep-closed, or when there are more than --max-queues"
            )


def longest_line(connection: apsw.Connection) -> int:
    """Tells how many bytes of one line a row can hold: a line is never cut."""
    return connection.limit(apsw.SQLITE_LIMIT_LENGTH) - _ROW_BYTES


def _cuts(data: bytes, size: int) -> bool:
    """Tells whether lines can be cut to pieces of at most this many bytes, at line ends."""
    at = 0
    while len(data) - at > size:
        end = data.rfind(b"\n", at, at + size) + 1
        if end == 0:
            return False
        at = end
    return True


def _needs_no_room(life: Life | None, request: PushRequest) -> bool:
    """Tells whether a push is answered without storing anything, duplicates above all.

    One whose twin is on its way to the disk gets that one's answer.
    """
    if life is None or life.closing is not None:
        return life is not None
    numbering = request.numbering
    known = life.producers.get(numbering.producer) if numbering is not None else None
    if numbering is None or known is None or known.staged is None:
        return False
    staged = known.staged
    return (numbering.epoch, numbering.seq) <= (staged.epoch, staged.seq)
