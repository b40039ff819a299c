"""Reading blocks from the file, which readers wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

import apsw

from batchq.broker import Kept, Load, Point, Span
from batchq.model import ProducerState
from batchq.stores.sqlite.errors import Corrupt, reading
from batchq.stores.sqlite.hashes import block_is_sound
from batchq.stores.sqlite.lines_file import LinesFile
from batchq.stores.sqlite.rows import LifeRow, LifeRows
from batchq.stores.sqlite.schema import OFFSET_BITS, block_id
from batchq.stores.sqlite.segments import Segments

_AHEAD: Final = 2
"""Loads that may wait for the event loop to take them: more would only hold memory."""

Pieces = list[tuple[Span, bytes]]

_FIRST: Final = """
SELECT max((SELECT coalesce(max(id), 0) FROM block WHERE id BETWEEN ?1 AND ?2),
           (SELECT coalesce(max(id), 0) FROM extent WHERE id BETWEEN ?1 AND ?2))
"""

_BLOCKS: Final = """
SELECT id, lines, position, hash, data, NULL, NULL FROM block WHERE id >= ?1 AND id < ?2
UNION ALL
SELECT id, lines, position, hash, NULL, place, size FROM extent WHERE id >= ?1 AND id < ?2
ORDER BY id
"""

_STILL: Final = "SELECT count(*) FROM extent WHERE id=? AND place=? AND hash=?"


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


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it was read.

    Attributes:
        id: see ``schema.block_id``.
        lines: how many.
        position: of the first byte.
        data: the lines.
        place: where they were in the file of lines; None for the database itself.
        hash: what the hash of all that should be.
        sound: it is what was written.
    """

    id: int
    lines: int
    position: int
    data: bytes
    place: int | None
    hash: int
    sound: bool


def blocks(
    connection: apsw.Connection, file: LinesFile | None, first: int, end: int
) -> Generator[Block]:
    """Reads blocks in their order, from an id up to another."""
    cursor = connection.execute(_BLOCKS, (first, end))
    try:
        for number, lines, position, digest, inline, place, size in cursor:
            data = inline if place is None else read_extent(file, place, size)
            sound = block_is_sound(number, lines, position, data, digest)
            yield Block(number, lines, position, data, place, digest, sound)
    finally:
        cursor.close()


def read_extent(file: LinesFile | None, place: int, size: int) -> bytes:
    """Reads what is at a place in the file of lines; nothing where there is no such file."""
    return file.read(place, size) if file is not None else b""


def read_segments(connection: apsw.Connection, file: LinesFile) -> Segments:
    """Reads what is where in the file of lines.

    Raises:
        Corrupt: that makes no sense.
        StoreUnavailable: the file is too short for it.
    """
    segments = Segments()
    with reading():
        bounds = "SELECT coalesce(max(place + size), 0), coalesce(min(place), 0) FROM extent"
        ((least, first),) = connection.execute(bounds)
        if first < 0:
            raise Corrupt("a block stands before the beginning of the file of lines")
        file.check_size(least)
        for place, size in connection.execute("SELECT place, size FROM extent"):
            segments.hold(place, size)
    segments.start()
    return segments


def read_blocks(
    connection: apsw.Connection, file: LinesFile, life: int, start: Point, size: int
) -> Pieces:
    """Reads blocks, from the one that holds a line on.

    Args:
        connection: the file.
        file: the file of lines.
        life: the life's number.
        start: the line.
        size: bytes behind its start that are wanted.

    Raises:
        Corrupt: a block isn't what was written.
    """
    pieces: Pieces = []
    bounds = (block_id(life, 0), block_id(life, start.offset))
    first = connection.execute(_FIRST, bounds).get
    if not first:
        return pieces
    with closing(blocks(connection, file, first, block_id(life + 1, 0))) as found:
        for block in found:
            if not block.sound:
                break
            begin = Point(block.id & ((1 << OFFSET_BITS) - 1), block.position)
            end = Point(begin.offset + block.lines, block.position + len(block.data))
            pieces.append((Span(begin, end), block.data))
            if end.position >= start.position + size:
                return pieces
        else:
            return pieces
    # Its place may hold another block by now; then it is gone as far as anyone sees now.
    values = (block.id, block.place, block.hash)
    if block.place is None or connection.execute(_STILL, values).get:
        raise Corrupt(f"block {block.id} is not what was written")
    return pieces


class Loader:
    """A thread that reads blocks, with a connection of its own: it blocks no writer.

    Args:
        connection: the file, to read.
        file: the file of lines.
        rows: the writer's.
        loaded: is told of what was read; it says ``taken`` when it has it.
        failed: is told that the file can't be read.
        ended: is told that the thread has ended and its connection is closed.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        file: LinesFile,
        rows: LifeRows,
        loaded: Callable[[Load, Pieces], None],
        failed: Callable[[Exception], None],
        ended: Callable[[], None],
    ) -> None:
        self._db = connection
        self._file = file
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
                pieces: Pieces = []
                if found:
                    with reading():
                        pieces = read_blocks(self._db, self._file, number, load.start, load.bytes)
                self._loaded(load, pieces)
        except Exception as error:  # noqa: BLE001 - whatever it is, lines can't be read
            self._failed(error)
        try:
            self._db.close(True)
        finally:
            self._ended()
