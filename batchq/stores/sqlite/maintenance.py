"""What people do with a file: check it, compact it. Copies of it are made in ``copies``."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from batchq.broker import Point, Span
from batchq.errors import StoreUnavailable
from batchq.model import MIB
from batchq.stores.sqlite.database import Place, open_for_reading, open_for_writing
from batchq.stores.sqlite.errors import Corrupt, reading
from batchq.stores.sqlite.lines_file import LinesFile, lines_path
from batchq.stores.sqlite.loader import blocks, read_segments
from batchq.stores.sqlite.lock import Lock, real_path
from batchq.stores.sqlite.records import read_rows
from batchq.stores.sqlite.rows import ORIGIN, LifeRow
from batchq.stores.sqlite.schema import block_id
from batchq.stores.sqlite.spare import Spare
from batchq.stores.sqlite.transaction import Lines

_STRETCH: Final = 256 * MIB
"""Payload bytes that are looked at in one state of the file."""


def check(path: str) -> Generator[str]:
    """Looks at all of a file, also while a server uses it.

    Yields:
        What is wrong, a sentence each; nothing for a sound file.

    Raises:
        StoreUnavailable: it can't be opened at all.
    """
    path = real_path(path)
    connection = _open_existing(path)
    try:
        with reading_lines(path) as file, reading():
            for (finding,) in connection.execute("PRAGMA integrity_check(20)"):
                if finding != "ok":
                    yield str(finding)
            yield from _check_queues(connection, file)
    except (apsw.Error, OSError, Corrupt) as error:
        yield f"it can't be read to its end: {error}"
    finally:
        connection.close(True)


def _check_queues(connection: apsw.Connection, file: LinesFile | None) -> Iterator[str]:
    """Looks at all queues that are there, a stretch at a time.

    In between others may have changed what is done with, and the WAL may start anew.
    """
    with _one_state(connection):
        rows, _ = read_rows(connection)
    wanted = deque(row.queue_id for row in rows.by_queue_id.values())
    at = ORIGIN
    while wanted:
        size = _STRETCH
        with _one_state(connection):
            rows, _ = read_rows(connection)
            while wanted and size > 0:
                row = rows.by_queue_id.get(wanted[0])
                reached = None
                if row is not None and not row.over:
                    reached = yield from _check_lines(connection, file, row, at, size)
                    size -= (reached or row.tail).position - at.position
                at = reached or ORIGIN
                if reached is None:
                    wanted.popleft()


def _check_lines(
    connection: apsw.Connection, file: LinesFile | None, row: LifeRow, since: Point, size: int
) -> Generator[str, None, Point | None]:
    """Looks whether all lines that are not done with are there, as they were written.

    Args:
        connection: the file.
        file: the file of lines, if there is one.
        row: the life.
        since: what is before it was looked at.
        size: payload bytes to look at, about.

    Returns:
        Where to go on, or None at the end.
    """
    left = [Span(max(span.start, since), span.end) for span in row.left if span.end > since]
    zero = block_id(row.id, 0)
    at = 0
    with closing(blocks(connection, file, zero + since.offset, block_id(row.id + 1, 0))) as found:
        for block in found:
            start = Point(block.id - zero, block.position)
            end = Point(start.offset + block.lines, start.position + len(block.data))
            if not block.sound or block.data.count(b"\n") != block.lines:
                yield (
                    f"queue {row.name!r}: the lines from offset {start.offset} are not what was "
                    "written"
                )
            while at < len(left) and left[at].start.offset < end.offset:
                span = left[at]
                if span.start.offset < start.offset or span.start.position < start.position:
                    yield f"queue {row.name!r}: the line at offset {span.start.offset} is missing"
                if span.end.offset > end.offset:
                    left[at] = span._replace(start=end)
                    break
                at += 1
            size -= len(block.data)
            if size <= 0:
                return end
    for span in left[at:]:
        yield f"queue {row.name!r}: the lines from offset {span.start.offset} on are missing"
    return None


def compact(path: str) -> tuple[int, int]:
    """Gives all free space of a file back; no server may use it meanwhile.

    Returns:
        What the store took on the disk before, and takes now, in bytes: all its files.

    Raises:
        StoreUnavailable: it is in use, or can't be.
    """
    path = real_path(path)
    check_there(path)
    lock = Lock(path)
    try:
        before = _size(path)
        connection = open_for_writing(Place(path), full_sync=True)
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        _compact_lines(connection, path)
        connection.close(True)
    except (apsw.Error, OSError, Corrupt) as error:
        raise StoreUnavailable(f"can't compact {path}: {error}; nothing is lost") from error
    finally:
        lock.release()
    return before, _size(path)


def _compact_lines(connection: apsw.Connection, path: str) -> None:
    file = LinesFile(path, write=True)
    try:
        segments = read_segments(connection, file)
        if file.unread:
            Spare(connection, Lines(file, segments, used=True)).give_back_all()
    finally:
        file.close()


def _size(path: str) -> int:
    """What a store takes on the disk."""
    names = (path, f"{path}-wal", lines_path(path))
    there = [Path(name) for name in names if Path(name).exists()]
    return sum(file.stat().st_blocks * 512 for file in there)


@contextmanager
def _one_state(connection: apsw.Connection) -> Iterator[None]:
    """Lets all that is read be of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


@contextmanager
def reading_lines(path: str) -> Iterator[LinesFile | None]:
    """Opens the file of lines, if there is one; what is in it stays as it is meanwhile."""
    if not Path(lines_path(path)).exists():
        yield None
        return
    file = LinesFile(path, write=False)
    try:
        with file.being_read():
            yield file
    finally:
        file.close()


def check_there(path: str) -> None:
    """Raises ``StoreUnavailable`` where there is no such file."""
    if not Path(path).is_file():
        raise StoreUnavailable(f"there is no file {path}")


def _open_existing(path: str) -> apsw.Connection:
    check_there(path)
    return open_for_reading(Place(path))
