"""What people do with a file: check it, compact it. Copies of it are made in ``copies``."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from batchq.errors import StoreUnavailable
from batchq.stores.sqlite.database import Place, open_for_reading, open_for_writing
from batchq.stores.sqlite.lines_file import LinesFile, lines_path
from batchq.stores.sqlite.loader import blocks, read_rows, read_segments
from batchq.stores.sqlite.lock import Lock, real_path
from batchq.stores.sqlite.rows import LifeRow
from batchq.stores.sqlite.schema import block_id
from batchq.stores.sqlite.spare import Spare
from batchq.stores.sqlite.transaction import Lines


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
        with reading_lines(path) as file:
            connection.execute("BEGIN")
            for (finding,) in connection.execute("PRAGMA integrity_check(20)"):
                if finding != "ok":
                    yield str(finding)
            rows, _ = read_rows(connection)
            for row in rows.by_queue_id.values():
                if not row.over:
                    yield from _check_lines(connection, file, row)
    except (apsw.Error, KeyError, OSError) as error:
        yield f"it can't be read to its end: {error}"
    finally:
        connection.close(True)


def _check_lines(
    connection: apsw.Connection, file: LinesFile | None, row: LifeRow
) -> Iterator[str]:
    """Looks whether all lines that are not done with are there, as they were written."""
    left = row.left
    bounds = (block_id(row.id, 0), block_id(row.id + 1, 0))
    at = 0
    for block in blocks(connection, file, *bounds):
        lines, position, data = block.lines, block.position, block.data
        start = block.id - bounds[0]
        if not block.sound or data.count(b"\n") != lines:
            yield f"queue {row.name!r}: the lines from offset {start} are not what was written"
        while at < len(left) and left[at].start.offset < start + lines:
            span = left[at]
            if span.start.offset < start or span.start.position < position:
                yield f"queue {row.name!r}: the line at offset {span.start.offset} is missing"
            if span.end.offset > start + lines:
                left[at] = span._replace(
                    start=span.start._replace(offset=start + lines, position=position + len(data))
                )
                break
            at += 1
    for span in left[at:]:
        yield f"queue {row.name!r}: the lines from offset {span.start.offset} on are missing"


def compact(path: str) -> tuple[int, int]:
    """Gives all free space of a file back; no server may use it meanwhile.

    Returns:
        The file's size before and after, in bytes.

    Raises:
        StoreUnavailable: it is in use, or can't be.
    """
    path = real_path(path)
    check_there(path)
    lock = Lock(path)
    try:
        connection = open_for_writing(Place(path), full_sync=True)
        before = _size(path)
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        _compact_lines(connection, path)
        connection.close(True)
    except (apsw.Error, OSError) as error:
        raise StoreUnavailable(f"can't compact {path}: {error}; nothing is lost") from error
    finally:
        lock.release()
    return before, _size(path)


def _compact_lines(connection: apsw.Connection, path: str) -> None:
    file = LinesFile(path, write=True)
    try:
        segments = read_segments(connection)
        file.check_size(segments.least)
        if file.unread:
            Spare(connection, Lines(file, segments, used=True)).give_back_all()
    finally:
        file.close()


def _size(path: str) -> int:
    """What a store takes on the disk."""
    there = [Path(name) for name in (path, lines_path(path)) if Path(name).exists()]
    return sum(file.stat().st_blocks * 512 for file in there)


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
