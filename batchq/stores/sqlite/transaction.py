"""Changes as rows: one transaction of the writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import apsw

from batchq.broker import (
    Append,
    Change,
    Close,
    Consume,
    Delete,
    Forget,
    Life,
    Point,
    PutBack,
    Span,
)
from batchq.model import KIB, MIB, Numbering, ProducerState
from batchq.stores.sqlite.garbage import Budget, collect
from batchq.stores.sqlite.hashes import Value, block_hash, row_hash
from batchq.stores.sqlite.lines_file import LinesFile, write_all
from batchq.stores.sqlite.rows import LifeRow, LifeRows
from batchq.stores.sqlite.schema import block_id
from batchq.stores.sqlite.segments import SEGMENT, SMALLEST, Segments

_JOIN: Final = 256 * KIB
"""Consecutive batches of one transaction are joined to blocks of about this size."""

_SPLIT: Final = 4 * MIB
"""Larger batches are cut to blocks of this size at line ends: blocks are read whole."""

_UPSERT_LIFE: Final = """
INSERT INTO life VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (id) DO UPDATE SET head_offset=excluded.head_offset,
    head_position=excluded.head_position, tail_offset=excluded.tail_offset,
    tail_position=excluded.tail_position, closed=excluded.closed, digest=excluded.digest,
    unterminated=excluded.unterminated, over=excluded.over, ended_at=excluded.ended_at,
    hash=excluded.hash
"""

_UPSERT_PRODUCER: Final = """
INSERT INTO producer VALUES (?,?,?,?,?,?,?)
ON CONFLICT DO UPDATE SET epoch=excluded.epoch, seq=excluded.seq, lines=excluded.lines,
    bytes=excluded.bytes, hash=excluded.hash
"""

_INSERT_BLOCK: Final = "INSERT INTO block VALUES (?,?,?,?,?)"

_INSERT_EXTENT: Final = "INSERT INTO extent VALUES (?,?,?,?,?,?)"

_DELETE_BLOCKS: Final = "DELETE FROM block WHERE id >= ? AND id < ? AND id + lines <= ?"

_DELETE_EXTENTS: Final = (
    "DELETE FROM extent WHERE id >= ? AND id < ? AND id + lines <= ? RETURNING place, size"
)

_OVERLAPPING: Final = """
SELECT id, lines, position, length(data) FROM block WHERE id < ?3
    AND id >= coalesce((SELECT max(id) FROM block WHERE id BETWEEN ?1 AND ?2), ?2)
UNION ALL
SELECT id, lines, position, size FROM extent WHERE id < ?3
    AND id >= coalesce((SELECT max(id) FROM extent WHERE id BETWEEN ?1 AND ?2), ?2)
ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Lines:
    """Where lines are kept beside the database.

    Attributes:
        file: the file of lines.
        segments: what is where in it.
        used: large blocks go there, and commits are on the disk at once; else all blocks go to
            the database.
    """

    file: LinesFile
    segments: Segments
    used: bool


@dataclass(slots=True)
class _Tail:
    """Consecutive batches that are not yet written as a block."""

    start: Point
    lines: int = 0
    size: int = 0
    pieces: list[bytes] = field(default_factory=list)


class Transaction:
    """Writes changes in their order; nothing is kept in mind of one that is not committed.

    Args:
        connection: in a transaction.
        rows: what is known; changed only by ``committed``.
        lines: where large blocks go.
        wall: gives the Unix time.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        rows: LifeRows,
        lines: Lines,
        wall: Callable[[], float],
    ) -> None:
        self._db = connection
        self._rows = rows
        self._lines = lines
        self._wall = wall
        self._written: list[tuple[int, bytes | memoryview]] = []
        self._gone: list[tuple[int, int]] = []
        lines.segments.begin()
        self._touched: dict[str, LifeRow] = {}
        self._removed: list[str] = []
        self._numbers: set[int] = set()
        self._garbage: list[int] = []
        self._collected: list[int] = []
        self._tails: dict[str, _Tail] = {}
        self._producers: dict[tuple[int, str], ProducerState] = {}

    def write(self, change: Change) -> None:
        """Writes one change; some of it may wait for ``finish``."""
        match change:
            case Append():
                self._append(change)
            case Close():
                row = self._row(change.life)
                row.closed = change.closing
                self._producer(row, change.closing.numbering, change.producer)
            case Consume():
                self._consume_all(change)
            case PutBack():
                self._put_back(change)
            case Delete():
                self._delete(self._row(change.life))
            case Forget(life=life, record=record):
                self._forget(life.id if life is not None else record or "")

    def finish(self) -> None:
        """Writes what is left to write, before COMMIT."""
        for queue_id in list(self._tails):
            self._write_tail(queue_id)
        now = None
        for row in self._touched.values():
            if row.ended_at is None and (row.drained or row.over):
                now = self._wall() if now is None else now
                row.ended_at = now
            values = _life_values(row)
            self._db.execute(_UPSERT_LIFE, (*values, row_hash("life", *values)))
        for (life, name), state in self._producers.items():
            producer = (life, name, state.epoch, state.seq, state.lines, state.bytes)
            self._db.execute(_UPSERT_PRODUCER, (*producer, row_hash("producer", *producer)))
        # Before the commit: what a row tells is in its place.
        write_all(self._lines.file, self._written)

    def rolled_back(self) -> None:
        """Forgets what was written."""
        self._lines.segments.roll_back()

    def committed(self) -> None:
        """Takes over what was written: it is durable."""
        for number in self._garbage:
            self._rows.leave_garbage(number)
        for row in self._touched.values():
            self._rows.add(row)
        for queue_id in self._removed:
            self._rows.remove(queue_id)
        for number in self._collected:
            self._rows.collected(number)
        self._lines.segments.committed(self._gone)

    def collect(self, budget: Budget) -> None:
        """Removes some blocks of deleted lives, if there are any."""
        removed = collect(self._db, self._rows.garbage, budget)
        self._collected += removed.lives
        self._gone += removed.places

    # Changes

    def _row(self, life: Life) -> LifeRow:
        row = self._touched.get(life.id)
        if row is None:
            known = self._rows.by_queue_id.get(life.id)
            if known is not None:
                row = known.copy()
            else:
                number = self._rows.free_number(self._numbers)
                self._numbers.add(number)
                row = LifeRow(number, life.name, life.id)
            self._touched[life.id] = row
        return row

    def _existing(self, life: Life) -> LifeRow | None:
        """Gives the row of a life, or None where that has ended meanwhile."""
        known = life.id in self._touched or life.id in self._rows.by_queue_id
        if not known or life.id in self._removed:
            return None
        row = self._row(life)
        return None if row.over else row

    def _append(self, change: Append) -> None:
        row = self._row(change.life)
        self._producer(row, change.numbering, change.producer)
        data = change.batch.data
        if not data:
            return
        tail = self._tails.get(row.queue_id)
        if tail is not None and tail.size + len(data) > _JOIN:
            self._write_tail(row.queue_id)
            tail = None
        if tail is None:
            tail = self._tails[row.queue_id] = _Tail(row.tail)
        tail.pieces.append(data)
        tail.lines += change.batch.lines
        tail.size += len(data)
        row.tail = change.span.end

    def _write_tail(self, queue_id: str) -> None:
        row, tail = self._touched[queue_id], self._tails.pop(queue_id)
        data = tail.pieces[0] if len(tail.pieces) == 1 else b"".join(tail.pieces)
        self._insert_blocks(row, tail.start, tail.lines, data)

    def _insert_blocks(self, row: LifeRow, first: Point, count: int, data: bytes) -> None:
        for start, lines, part in _parts(first, count, data):
            number = block_id(row.id, start.offset)
            digest = block_hash(number, lines, start.position, part)
            values = (number, lines, start.position, digest)
            if self._lines.used and SMALLEST <= len(part) <= SEGMENT:
                place = self._lines.segments.place(len(part))
                self._written.append((place, part))
                self._db.execute(_INSERT_EXTENT, (*values, place, len(part)))
            else:
                self._db.execute(_INSERT_BLOCK, (*values, part))

    def _producer(
        self, row: LifeRow, numbering: Numbering | None, state: ProducerState | None
    ) -> None:
        if numbering is not None and state is not None:
            self._producers[row.id, numbering.producer] = state

    def _consume_all(self, change: Consume) -> None:
        # Asked once: the event loop may set it at any moment, and acts on ``skipped``.
        change.skipped = change.put_back is not None
        row = None if change.skipped else self._existing(change.life)
        if row is not None:
            for span in change.spans:
                self._consume(row, span)

    def _consume(self, row: LifeRow, span: Span) -> None:
        if not span.lines:
            return
        whole, gone = row.be_done(span)
        self._write_done(row, gone, [whole] if whole.end != row.head else [])
        # A block that begins before the head may end behind it: it is done with only now.
        first = 0 if whole.end == row.head else whole.start.offset
        end = block_id(row.id, whole.end.offset)
        bounds = (block_id(row.id, first), end, end)
        self._db.execute(_DELETE_BLOCKS, bounds)
        self._gone += self._db.execute(_DELETE_EXTENTS, bounds)

    def _write_done(self, row: LifeRow, gone: list[Span], fresh: list[Span]) -> None:
        for past in gone:
            key = (row.id, past.start.offset)
            self._db.execute("DELETE FROM done WHERE life=? AND start_offset=?", key)
        for span in fresh:
            values = (row.id, *span.start, *span.end)
            hashed = (*values, row_hash("done", *values))
            self._db.execute("INSERT INTO done VALUES (?,?,?,?,?,?)", hashed)

    def _put_back(self, change: PutBack) -> None:
        """Undoes a ``_consume``, whatever was consumed around it since."""
        row, span, data = self._existing(change.life), change.span, change.data
        if row is None:
            return
        self._write_done(row, *row.be_undone(span))
        row.ended_at = None
        origin = span.start.position
        for part in self._without_block(row, span):
            piece = data[part.start.position - origin : part.end.position - origin]
            self._insert_blocks(row, part.start, part.lines, piece)

    def _without_block(self, row: LifeRow, span: Span) -> list[Span]:
        """Tells which lines no block holds any more: a block stays while it has others."""
        zero = block_id(row.id, 0)
        parts, at = [], span.start
        bounds = (zero, zero + span.start.offset, zero + span.end.offset)
        for number, lines, position, size in self._db.execute(_OVERLAPPING, bounds):
            begin = Point(number - zero, position)
            if at < begin:
                parts.append(Span(at, begin))
            at = max(at, Point(begin.offset + lines, position + size))
        if at < span.end:
            parts.append(Span(at, span.end))
        return parts

    def _delete(self, row: LifeRow) -> None:
        self._tails.pop(row.queue_id, None)
        row.over = True
        row.ended_at = None
        if row.head != row.tail:
            self._db.execute("INSERT INTO garbage VALUES (?)", (row.id,))
            self._garbage.append(row.id)
        if row.done:
            self._db.execute("DELETE FROM done WHERE life=?", (row.id,))

    def _forget(self, queue_id: str) -> None:
        row = self._touched.pop(queue_id, None) or self._rows.by_queue_id.get(queue_id)
        if row is None:
            return
        self._tails.pop(queue_id, None)
        for key in [key for key in self._producers if key[0] == row.id]:
            del self._producers[key]
        self._db.execute("DELETE FROM life WHERE id=?", (row.id,))
        self._db.execute("DELETE FROM producer WHERE life=?", (row.id,))
        self._removed.append(queue_id)


def _life_values(row: LifeRow) -> tuple[Value, ...]:
    """Gives the columns of a life, of the types that the file gives back."""
    closed = row.closed
    return (
        row.id,
        row.name,
        row.queue_id,
        *row.head,
        *row.tail,
        int(closed is not None),
        closed.digest if closed is not None else None,
        int(closed is not None and closed.unterminated),
        int(row.over),
        float(row.ended_at) if row.ended_at is not None else None,
    )


def _parts(
    start: Point, lines: int, data: bytes
) -> Iterator[tuple[Point, int, bytes | memoryview]]:
    """Cuts a batch to blocks, at line ends."""
    at, origin = 0, start
    while len(data) - at > _SPLIT:
        end = data.rfind(b"\n", at, at + _SPLIT) + 1 or data.index(b"\n", at) + 1
        if end == len(data):
            break
        count = data.count(b"\n", at, end)
        yield start, count, memoryview(data)[at:end]
        at, lines = end, lines - count
        start = Point(start.offset + count, origin.position + at)
    yield start, lines, memoryview(data)[at:] if at else data
