"""What is in the file beside lines: read at the start, and looked at closely.

A row has a hash. Rows that are gone show in their table's form, which SQLite looks at.
"""

from __future__ import annotations

from itertools import pairwise

import apsw

from batchq.broker import Closing, Point, Span
from batchq.model import QUEUE_NAME, ProducerState
from batchq.stores.sqlite.errors import Corrupt, reading
from batchq.stores.sqlite.hashes import row_hash
from batchq.stores.sqlite.rows import LifeRow, LifeRows
from batchq.stores.sqlite.schema import MAX_LIVES

Producers = dict[int, dict[str, ProducerState]]
"""What is known of producers: by the life's number, and their names."""


def check_form(connection: apsw.Connection) -> None:
    """Looks at the form of the tables that ``read_rows`` reads, so that no row is left out.

    Raises:
        Corrupt: it isn't sound.
    """
    for table in ("life", "producer", "done", "garbage"):
        for (finding,) in connection.execute(f"PRAGMA integrity_check({table})"):
            if finding != "ok":
                raise Corrupt(str(finding))


def read_rows(connection: apsw.Connection) -> tuple[LifeRows, Producers]:
    """Reads all lives, and their producers; no block is read.

    Raises:
        Corrupt: a row isn't what was written.
    """
    with reading():
        by_number = _read_lives(connection)
        _read_done(connection, by_number)
        producers = _read_producers(connection, by_number)
        rows = LifeRows()
        for row in by_number.values():
            rows.add(row)
        for (life,) in connection.execute("SELECT life FROM garbage"):
            rows.leave_garbage(life)
    return rows, producers


def _read_lives(connection: apsw.Connection) -> dict[int, LifeRow]:
    by_number: dict[int, LifeRow] = {}
    names = set()
    for *values, kept in connection.execute("SELECT * FROM life"):
        number = values[0]
        if row_hash("life", *values) != kept:
            raise Corrupt(f"the row of life {number} is not what was written")
        row = by_number[number] = LifeRow(
            id=number,
            name=values[1],
            queue_id=values[2],
            head=Point(values[3], values[4]),
            tail=Point(values[5], values[6]),
            closed=Closing(values[8], bool(values[9]), None) if values[7] else None,
            over=bool(values[10]),
            ended_at=values[11],
        )
        sound = 0 < number <= MAX_LIVES and QUEUE_NAME.fullmatch(row.name) is not None
        if not sound or not _in_order(Point(0, 0), row.head, row.tail):
            raise Corrupt(f"the row of life {number} makes no sense")
        if not row.over:
            if row.name in names:
                raise Corrupt(f"there are two queues {row.name!r}")
            names.add(row.name)
    return by_number


def _read_done(connection: apsw.Connection, by_number: dict[int, LifeRow]) -> None:
    for life, *points, kept in connection.execute("SELECT * FROM done ORDER BY life, start_offset"):
        row, span = by_number[life], Span(Point(*points[:2]), Point(*points[2:]))
        if row_hash("done", life, *points) != kept:
            raise Corrupt(f"what queue {row.name!r} is done with is not what was written")
        before = row.done[-1].end if row.done else row.head
        if not _in_order(before, span.start, span.end, row.tail) or before == span.start:
            raise Corrupt(f"what queue {row.name!r} is done with makes no sense")
        row.done.append(span)


def _read_producers(connection: apsw.Connection, by_number: dict[int, LifeRow]) -> Producers:
    producers: Producers = {}
    for life, name, *state, kept in connection.execute("SELECT * FROM producer"):
        row = by_number[life]
        if row_hash("producer", life, name, *state) != kept:
            raise Corrupt(f"a producer of queue {row.name!r} is not what was written")
        producers.setdefault(life, {})[name] = ProducerState(*state)
    return producers


def _in_order(*points: Point) -> bool:
    """Tells whether points follow each other: each line between two has a byte at least."""
    return all(
        0 <= after.offset - before.offset <= after.position - before.position
        for before, after in pairwise(points)
    )
