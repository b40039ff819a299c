"""Reading from the file: what is in it at the start, and blocks that readers wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

import apsw

from batchq.broker import Closing, Kept, Load, Point, Span
from batchq.model import ProducerState
from batchq.stores.sqlite.errors import Corrupt
from batchq.stores.sqlite.rows import LifeRow, LifeRows
from batchq.stores.sqlite.schema import OFFSET_BITS, block_id
from batchq.stores.sqlite.transaction import hash_of

_AHEAD: Final = 2
"""Loads that may wait for the event loop to take them: more would only hold memory."""

Pieces = list[tuple[Span, bytes]]


def read_rows(connection: apsw.Connection) -> tuple[LifeRows, dict[int, dict[str, ProducerState]]]:
    """Reads all lives, and their producers by the life's number; no block is read."""
    rows = LifeRows()
    by_number: dict[int, LifeRow] = {}
    for values in connection.execute(
        "SELECT id, name, queue_id, head_offset, head_position, tail_offset, tail_position, "
        "closed, digest, unterminated, over, ended_at FROM life"
    ):
        row = by_number[values[0]] = LifeRow(
            id=values[0],
            name=values[1],
            queue_id=values[2],
            head=Point(values[3], values[4]),
            tail=Point(values[5], values[6]),
            closed=Closing(values[8], bool(values[9]), None) if values[7] else None,
            over=bool(values[10]),
            ended_at=values[11],
        )
        rows.add(row)
    for life, *points in connection.execute("SELECT * FROM done ORDER BY life, start_offset"):
        by_number[life].done.append(Span(Point(*points[:2]), Point(*points[2:])))
    for (life,) in connection.execute("SELECT life FROM garbage"):
        rows.leave_garbage(life)
    producers: dict[int, dict[str, ProducerState]] = {}
    for life, name, *state in connection.execute("SELECT * FROM producer"):
        producers.setdefault(life, {})[name] = ProducerState(*state)
    return rows, producers


def kept(row: LifeRow, producers: dict[str, ProducerState], expires_in: float) -> Kept:
    """Gives a row as the broker takes it over."""
    return Kept(
        id=row.queue_id,
        name=row.name,
        tail=row.tail,
        spans=[] if row.over else row.left,
        producers=producers,
        closed=row.closed,
        over=row.over,
        drained=row.drained,
        expires_in=expires_in,
    )


def read_blocks(connection: apsw.Connection, life: int, start: Point, size: int) -> Pieces:
    """Reads blocks, from the one that holds a line on.

    Args:
        connection: the file.
        life: the life's number.
        start: the line.
        size: bytes behind its start that are wanted.

    Raises:
        Corrupt: a block isn't what was written.
    """
    pieces: Pieces = []
    first = connection.execute(
        "SELECT max(id) FROM block WHERE id BETWEEN ? AND ?",
        (block_id(life, 0), block_id(life, start.offset)),
    ).get
    if first is None:
        return pieces
    cursor = connection.execute(
        "SELECT id, lines, position, hash, data FROM block WHERE id >= ? AND id < ? ORDER BY id",
        (first, block_id(life + 1, 0)),
    )
    for number, lines, position, digest, data in cursor:
        if hash_of(data) != digest:
            raise Corrupt(f"block {number} is not what was written")
        begin = Point(number & ((1 << OFFSET_BITS) - 1), position)
        end = Point(begin.offset + lines, position + len(data))
        pieces.append((Span(begin, end), data))
        if end.position >= start.position + size:
            break
    cursor.close()
    return pieces


class Loader:
    """A thread that reads blocks, with a connection of its own: it blocks no writer.

    Args:
        connection: the file, to read.
        rows: the writer's.
        loaded: is told of what was read; it says ``taken`` when it has it.
        failed: is told that the file can't be read.
        ended: is told that the thread has ended and its connection is closed.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        rows: LifeRows,
        loaded: Callable[[Load, Pieces], None],
        failed: Callable[[Exception], None],
        ended: Callable[[], None],
    ) -> None:
        self._db = connection
        self._rows = rows
        self._loaded = loaded
        self._failed = failed
        self._ended = ended
        self._wanted: SimpleQueue[Load | None] = SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="batchq-loader", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def put(self, load: Load) -> None:
        """Takes a wish."""
        self._wanted.put(load)

    def taken(self) -> None:
        """Notes that the event loop has taken what was read."""
        self._room.release()

    def stop(self) -> None:
        """Ends after the read at hand; what else is wanted is not read."""
        self._stopping = True
        self._wanted.put(None)
        self._room.release()

    def _run(self) -> None:
        try:
            while (load := self._wanted.get()) is not None:
                self._room.acquire()
                if self._stopping:
                    break
                row = self._rows.by_queue_id.get(load.life.id)
                found = row is not None and not row.over
                number = row.id if row is not None else 0
                pieces = read_blocks(self._db, number, load.start, load.bytes) if found else []
                self._loaded(load, pieces)
        except Exception as error:  # noqa: BLE001 - whatever it is, lines can't be read
            self._failed(error)
        try:
            self._db.close(True)
        finally:
            self._ended()
