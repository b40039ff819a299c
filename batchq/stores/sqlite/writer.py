"""The thread that writes: group commit over what waits.

It takes the changes that are pending and writes them in one transaction: all of them up to a
size, and where more payload waits, half of it.
When that has been committed, the event loop is told; a failure is told instead, and the
writer then waits for what is to be done next. It knows no queue's rules.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

import apsw

from batchq.broker import Append, Change, Consume
from batchq.model import MIB
from batchq.stores.sqlite.errors import is_full
from batchq.stores.sqlite.garbage import Budget
from batchq.stores.sqlite.rows import LifeRows
from batchq.stores.sqlite.space import Reserve
from batchq.stores.sqlite.transaction import Lines, Transaction
from batchq.stores.sqlite.upkeep import Upkeep

_GROUP_BYTES: Final = 8 * MIB
"""Payload bytes at which a transaction is committed, whatever waits."""

_SHARE_BYTES: Final = 3 * MIB // 2
"""Payload bytes up to which a transaction takes all that waits. Of more it takes half: writers
that are answered all at once would all send at once, and the disk would wait for them."""

_GROUP_CHANGES: Final = 4096
"""Changes at which it is."""

_COLLECT_STEPS: Final = 32
"""Blocks of deleted lives that a transaction removes, and two for each of its changes: so more
than changes make, and lives are gone sooner than others can be deleted."""

_COLLECT_BYTES: Final = 32 * MIB
"""Bytes of them that it removes, and two for each that it writes."""

_LOOK_AGAIN: Final = 1.0
"""Seconds between looks whether a full disk has room again."""

_LONGEST_WAIT: Final = 3600.0
"""Seconds of a wait; the system takes none that is beyond all bounds."""

_IDLE_SECONDS: Final = 0.05
"""Nothing to write for this long is the time for upkeep."""


@dataclass(frozen=True, slots=True)
class Told:
    """Whom the writer tells, from its own thread.

    Attributes:
        committed: these changes are durable.
        full: there was no room on the disk; nothing of the transaction is left. The writer
            waits until it is resumed: who is told sees to that in any case, also when the
            store has failed or is about to be closed. Whether only changes were tried that
            free room, and what to call: ``Writer.resume``.
        failed: the writer has stopped for good.
        ended: the writer has ended; the error, if it could not end cleanly.
    """

    committed: Callable[[list[Change]], None]
    full: Callable[[bool, Callable[[list[Change]], None]], None]
    failed: Callable[[Exception], None]
    ended: Callable[[Exception | None], None]


@dataclass(frozen=True, slots=True)
class _Stop:
    clean: bool


class Writer:
    """Writes changes in their order.

    Args:
        connection: the file.
        rows: what is in it.
        reserve: is told what room the file has.
        lines: where large blocks go.
        told: whom to tell.
        wall: gives the Unix time.
        sync_every: seconds between syncs where commits are not synced themselves, or None.

    Attributes:
        idle: there is nothing to write, and nothing to tidy up.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        rows: LifeRows,
        reserve: Reserve,
        lines: Lines,
        told: Told,
        wall: Callable[[], float],
        sync_every: float | None,
    ) -> None:
        self._db = connection
        self._rows = rows
        self._reserve = reserve
        self._lines = lines
        self._told = told
        self._wall = wall
        self._sync_every = sync_every
        self._unsynced_since: float | None = None
        self._upkeep = Upkeep(connection, lines)
        self._orders: SimpleQueue[list[Change] | _Stop] = SimpleQueue()
        self._resumed: SimpleQueue[list[Change]] = SimpleQueue()
        self._pending: deque[Change] = deque()
        self._stop: _Stop | None = None
        self.idle = False
        self._thread = threading.Thread(target=self._run, name="batchq-writer", daemon=True)

    # From the event loop

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def put(self, changes: list[Change]) -> None:
        """Takes changes to write."""
        self._orders.put(changes)

    def resume(self, changes: list[Change]) -> None:
        """Goes on after ``full``: with these, and what is put later; all else is dropped."""
        # The writer waits for this, so that nobody else takes orders meanwhile.
        while True:
            try:
                order = self._orders.get_nowait()
            except Empty:
                break
            if isinstance(order, _Stop):
                self._stop = order
        self._resumed.put(changes)

    def stop(self, *, clean: bool = True) -> None:
        """Ends, after all that was put; not ``clean`` leaves the file as a crash would."""
        self._orders.put(_Stop(clean))

    # In the thread

    def _run(self) -> None:
        error: Exception | None = None
        try:
            while self._turn():
                pass
            if self._stop is None or self._stop.clean:
                self._upkeep.finish()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the store can't go on
            error = failure
            self._told.failed(failure)
        # Closing does not checkpoint: after a failure nothing may be synced again.
        try:
            self._db.close(True)
        finally:
            self._told.ended(error)

    def _turn(self) -> bool:
        """Writes, or tidies up; tells whether to go on."""
        group = self._take()
        if group:
            self._commit(group)
            self._sync_if_due()
            return True
        if self._stop is not None:
            return False
        self._sync_if_due()
        return True

    def _take(self) -> list[Change]:
        """Waits for changes, and takes those of the next transaction."""
        if not self._pending and self._stop is None:
            self._accept(self._next_order())
        while self._stop is None:
            try:
                self._accept(self._orders.get_nowait())
            except Empty:
                break
        group: list[Change] = []
        size = 0
        most = min(_GROUP_BYTES, max(_SHARE_BYTES, sum(map(_payload, self._pending)) // 2))
        while self._pending and size < most and len(group) < _GROUP_CHANGES:
            change = self._pending.popleft()
            group.append(change)
            size += _payload(change)
        return group

    def _next_order(self) -> list[Change] | _Stop:
        """Waits for an order; does the upkeep meanwhile."""
        try:
            return self._orders.get(timeout=_IDLE_SECONDS)
        except Empty:
            pass
        busy = True
        while busy:
            busy = self._collect_garbage() or self._upkeep.when_idle()
            self._note_space()
            try:
                return self._orders.get_nowait()
            except Empty:
                pass
        self.idle = True
        try:
            return self._orders.get(timeout=self._until_sync())
        except Empty:
            return []
        finally:
            self.idle = False

    def _accept(self, order: list[Change] | _Stop) -> None:
        if isinstance(order, _Stop):
            self._stop = order
        else:
            self._pending.extend(order)

    def _commit(self, group: list[Change]) -> None:
        if not self._written(group):
            return
        self._told.committed(group)
        if self._sync_every is not None and self._unsynced_since is None:
            self._unsynced_since = time.monotonic()
        if self._upkeep.after_commit(frees=all(isinstance(each, Consume) for each in group)):
            self._note_space()

    def _written(self, group: list[Change]) -> bool:
        """Writes one transaction; where there is no room, tells so and takes new orders."""
        if self._fits_somehow(group):
            return True
        self._note_space()
        frees = not any(isinstance(change, Append) for change in group)
        self._told.full(frees, self.resume)
        changes = self._resumed.get()
        self._pending.clear()
        self._pending.extend(changes)
        return False

    def _fits_somehow(self, group: list[Change]) -> bool:
        # A checkpoint frees room in the WAL: perhaps enough.
        if self._fits(group) or (self._upkeep.checkpoint() and self._fits(group)):
            return True
        # What deleted lives have left can wait; it takes room in the WAL to remove it.
        return bool(group and self._rows.garbage) and self._fits(group, collecting=False)

    def _fits(self, group: list[Change], *, collecting: bool = True) -> bool:
        """Writes one transaction; tells whether there was room for it on the disk."""
        transaction = Transaction(self._db, self._rows, self._lines, self._wall)
        try:
            self._transact(transaction, group, collecting=collecting)
        except (apsw.Error, OSError) as error:
            if not is_full(self._db, error):
                raise
            self._roll_back()
            transaction.rolled_back()
            return False
        transaction.committed()
        return True

    def _transact(self, transaction: Transaction, group: list[Change], *, collecting: bool) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        if collecting:
            steps, size = len(group), sum(map(_payload, group))
            transaction.collect(Budget(_COLLECT_STEPS + 2 * steps, _COLLECT_BYTES + 2 * size))
        for change in group:
            transaction.write(change)
        transaction.finish()
        self._db.execute("COMMIT")

    def _collect_garbage(self) -> bool:
        """Removes some blocks of deleted lives; tells whether there are more to remove now.

        Where there is no room for that, it is tried again later: no call waits for it.
        """
        return bool(self._rows.garbage) and self._fits_somehow([]) and bool(self._rows.garbage)

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _note_space(self) -> None:
        self._reserve.reusable = self._upkeep.reusable
        self._reserve.stuck = self._upkeep.stuck

    # Timed syncs

    def _until_sync(self) -> float | None:
        if self._sync_every is None or self._unsynced_since is None:
            return _LOOK_AGAIN if self._upkeep.stuck or self._rows.garbage else None
        left = self._unsynced_since + self._sync_every - time.monotonic()
        return min(max(0.0, left), _LONGEST_WAIT)

    def _sync_if_due(self) -> None:
        if self._until_sync() != 0.0:
            return
        # The commit of a fully synchronous transaction syncs all of the WAL before it.
        self._db.pragma("synchronous", "full")
        try:
            self._db.execute("UPDATE meta SET synced=synced+1")
        except apsw.Error as error:
            if not is_full(self._db, error):
                raise
            self._roll_back()
            self._unsynced_since = time.monotonic()
        else:
            self._unsynced_since = None
            self._upkeep.synced()
        self._db.pragma("synchronous", "normal")


def _payload(change: Change) -> int:
    return len(change.batch.data) if isinstance(change, Append) else 0
