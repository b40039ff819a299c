"""Opening the file: versions, formats, settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from batchq.errors import StoreUnavailable
from batchq.model import MIB
from batchq.stores.sqlite.errors import Corrupt, reading, restoring
from batchq.stores.sqlite.hashes import row_hash
from batchq.stores.sqlite.schema import APPLICATION_ID, FORMAT, MIGRATIONS, PAGE_SIZE

_CACHE_KIB: Final = 16 * 1024
"""Page cache of the writing connection; payload passes it once."""

_WAL_BYTES: Final = 64 * MIB
"""What of the WAL is kept when it starts anew, after a reader has made it grow."""

RESTORING: Final = "-restore"
"""Ends the name of a backup that is about to take a database's place."""

_BUSY_MS: Final = 5_000
"""How long to wait for another process (a backup, a check) that holds the file."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the file is.

    Attributes:
        path: the file.
        vfs: the name of the SQLite VFS to open it with; the platform's unless given.
    """

    path: str
    vfs: str | None = None


def check_library(version: int | None = None) -> None:
    """Refuses SQLite versions that may corrupt a file (the WAL-reset bug).

    It is in 3.7.0 to 3.51.2, and fixed in 3.51.3, 3.50.7 and 3.44.6.

    Args:
        version: as ``SQLITE_VERSION_NUMBER``; the library's own unless given.

    Raises:
        StoreUnavailable: this is such a version.
    """
    number = apsw.SQLITE_VERSION_NUMBER if version is None else version
    fixed = (
        number >= 3_051_003 or 3_050_007 <= number < 3_051_000 or 3_044_006 <= number < 3_045_000
    )
    if not fixed:
        raise StoreUnavailable(
            f"SQLite {number // 1_000_000}.{number // 1000 % 1000}.{number % 1000} may corrupt "
            "files in WAL mode; install apsw 3.51.3 or newer"
        )


def open_for_writing(place: Place, *, full_sync: bool) -> apsw.Connection:
    """Opens the file to write, creates or migrates it if need be.

    Args:
        place: the file.
        full_sync: each commit is on the disk when it returns.

    Raises:
        StoreUnavailable: it can't be; the detail says what can be done.
    """
    check_library()
    try:
        Path(place.path).absolute().parent.mkdir(parents=True, exist_ok=True)
        _check_remains(place.path)
        connection = apsw.Connection(place.path, vfs=place.vfs)
    except (OSError, apsw.Error) as error:
        raise StoreUnavailable(f"can't open {place.path}: {error}") from error
    try:
        with reading():
            _prepare(connection, place.path, full_sync=full_sync)
    except (apsw.Error, Corrupt) as error:
        connection.close(True)
        raise StoreUnavailable(_unreadable(place.path, error)) from error
    except StoreUnavailable:
        connection.close(True)
        raise
    return connection


def open_for_reading(place: Place, *, oldest: int = FORMAT) -> apsw.Connection:
    """Opens a file that exists to read, of this format or older ones; raises as the above."""
    check_library()
    try:
        connection = apsw.Connection(place.path, flags=apsw.SQLITE_OPEN_READONLY, vfs=place.vfs)
        connection.set_busy_timeout(_BUSY_MS)
        # The last to close would try a checkpoint, for which it may not even write.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        version = _version(connection, place.path)
    except apsw.Error as error:
        raise StoreUnavailable(_unreadable(place.path, error)) from error
    if not oldest <= version <= FORMAT:
        connection.close()
        raise StoreUnavailable(
            f"{place.path} has format {version}, this batchq reads {FORMAT}; a server that is "
            "started on it brings an older one up to date"
        )
    return connection


def _prepare(connection: apsw.Connection, path: str, *, full_sync: bool) -> None:
    connection.set_busy_timeout(_BUSY_MS)
    # Our checkpoints are explicit, their failures seen: none hidden in a close.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("journal_size_limit", _WAL_BYTES)
    version = _version(connection, path)
    if version == 0:
        connection.pragma("page_size", PAGE_SIZE)
        connection.pragma("auto_vacuum", "incremental")
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        raise StoreUnavailable(
            f"{path} can't be put into WAL mode (it says {mode!r}); is it on a network "
            "file system? Choose a local disk"
        )
    # A migration is durable at once, whatever comes after.
    connection.pragma("synchronous", "full")
    connection.pragma("cache_size", -_CACHE_KIB)
    connection.create_scalar_function("row_hash", row_hash, deterministic=True)
    for number in range(version, FORMAT):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(MIGRATIONS[number])
            connection.execute(f"PRAGMA user_version={number + 1}")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if not full_sync:
        connection.pragma("synchronous", "normal")


def _check_remains(path: str) -> None:
    """Looks whether a store that would be a new one was there before.

    A database is there before its other files are, and SQLite would delete its WAL.
    """
    if _filled(path):
        return
    remains = [f"{path}{suffix}" for suffix in ("-wal", "-lines", RESTORING)]
    left = [name for name in remains if _filled(name)]
    if left:
        raise StoreUnavailable(
            f"{path} is missing or empty, but {' and '.join(left)} of it is there: put it back, "
            f"{restoring(path)}, or move what is left away to start with an empty store"
        )


def _filled(path: str) -> bool:
    return Path(path).exists() and Path(path).stat().st_size > 0


def _version(connection: apsw.Connection, path: str) -> int:
    """Tells a file's format, 0 for an empty one.

    Raises:
        StoreUnavailable: it isn't ours, or too new.
    """
    ours = connection.pragma("application_id") == APPLICATION_ID
    version = int(connection.pragma("user_version"))
    if not ours:
        if connection.execute("SELECT count(*) FROM sqlite_schema").get or version:
            raise StoreUnavailable(
                f"{path} is a SQLite file, but not of batchq; choose another path"
            )
        return 0
    if version > FORMAT:
        raise StoreUnavailable(
            f"{path} was written by a newer batchq (format {version}, this one knows up to "
            f"{FORMAT}); upgrade batchq, or choose another path"
        )
    return version


def _unreadable(path: str, error: Exception) -> str:
    if isinstance(error, apsw.NotADBError | apsw.CorruptError | Corrupt):
        return (
            f"{path} is corrupt or not a batchq store ({error}); run `batchq store check {path}`; "
            f"{restoring(path)}, or move it away with its other files to start with an empty store"
        )
    return f"can't open {path}: {error}"
