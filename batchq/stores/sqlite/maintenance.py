"""What people do with a file: check it, compact it, back it up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import apsw

from batchq.errors import StoreUnavailable
from batchq.stores.sqlite.database import Lock, Place, open_for_reading, open_for_writing
from batchq.stores.sqlite.loader import read_rows
from batchq.stores.sqlite.rows import LifeRow
from batchq.stores.sqlite.schema import block_id
from batchq.stores.sqlite.transaction import hash_of


def check(path: str) -> Iterator[str]:
    """Looks at all of a file, also while a server uses it.

    Yields:
        What is wrong, a sentence each; nothing for a sound file.

    Raises:
        StoreUnavailable: it can't be opened at all.
    """
    connection = _open_existing(path)
    try:
        connection.execute("BEGIN")
        for (finding,) in connection.execute("PRAGMA integrity_check(20)"):
            if finding != "ok":
                yield str(finding)
        rows, _ = read_rows(connection)
        for row in rows.by_queue_id.values():
            if not row.over:
                yield from _check_lines(connection, row)
    except (apsw.Error, KeyError) as error:
        yield f"it can't be read to its end: {error}"
    finally:
        connection.close(True)


def _check_lines(connection: apsw.Connection, row: LifeRow) -> Iterator[str]:
    """Looks whether all lines that are not done with are there, as they were written."""
    left = row.left
    bounds = (block_id(row.id, 0), block_id(row.id + 1, 0))
    at = 0
    for number, lines, position, digest, data in connection.execute(
        "SELECT id, lines, position, hash, data FROM block WHERE id >= ? AND id < ? ORDER BY id",
        bounds,
    ):
        start = number - bounds[0]
        if hash_of(data) != digest or data.count(b"\n") != lines:
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
    _open_existing(path).close(True)
    lock = Lock(path)
    try:
        connection = open_for_writing(Place(path), full_sync=True)
        before = Path(path).stat().st_size
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.close(True)
    except apsw.Error as error:
        raise StoreUnavailable(f"can't compact {path}: {error}; it is as it was") from error
    finally:
        lock.release()
    return before, Path(path).stat().st_size


def backup(path: str, to: str) -> int:
    """Copies a file as it is at one moment, also while a server uses it.

    Returns:
        The copy's size in bytes.

    Raises:
        StoreUnavailable: it can't be; nothing is left at ``to``.
    """
    if Path(to).exists():
        raise StoreUnavailable(f"{to} exists; choose another name for the backup")
    connection = _open_existing(path)
    part = f"{to}.part"
    Path(part).unlink(missing_ok=True)
    try:
        connection.execute("VACUUM INTO ?", (part,))
        with open(part, "rb") as copied:  # noqa: PTH123 - a descriptor is needed
            os.fsync(copied.fileno())
        Path(part).rename(to)
    except (apsw.Error, OSError) as error:
        Path(part).unlink(missing_ok=True)
        raise StoreUnavailable(f"can't back up {path}: {error}") from error
    finally:
        connection.close(True)
    return Path(to).stat().st_size


def _open_existing(path: str) -> apsw.Connection:
    if not Path(path).is_file():
        raise StoreUnavailable(f"there is no file {path}")
    return open_for_reading(Place(path))
