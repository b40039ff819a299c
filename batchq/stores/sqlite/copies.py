"""Copies of a store in one file: backups, and how one takes the store's place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from batchq.errors import StoreUnavailable
from batchq.stores.sqlite.database import RESTORING, Place, open_for_reading, open_for_writing
from batchq.stores.sqlite.errors import Corrupt
from batchq.stores.sqlite.hashes import block_is_sound
from batchq.stores.sqlite.lines_file import LinesFile, lines_path, sync_directory
from batchq.stores.sqlite.loader import read_extent
from batchq.stores.sqlite.lock import MODE, Lock, real_path
from batchq.stores.sqlite.maintenance import check, check_there, reading_lines
from batchq.stores.sqlite.schema import FORMAT, WITH_LINES_FILE

_OLDEST: Final = 1
"""The oldest format that can be copied: a restored file is brought up to date."""


def backup(path: str, to: str) -> int:
    """Copies a store as it is at one moment, also while a server uses it: to one file.

    All of the copy is looked at before it gets its name.

    Returns:
        The copy's size in bytes.

    Raises:
        StoreUnavailable: it can't be; nothing is left at ``to``.
    """
    path = real_path(path)
    if Path(to).exists():
        raise StoreUnavailable(f"{to} exists; choose another name for the backup")
    part = f"{to}.part"
    with _reported(f"can't back up {path}"), _made(part):
        _copy(path, part, FORMAT)
        _check_copy(part, f"{path} is damaged")
        Path(part).rename(to)
        sync_directory(to)
    return Path(to).stat().st_size


def restore(source: str, path: str) -> int:
    """Puts a backup in the place of a store, with all its files; no server may use it meanwhile.

    It is copied and looked at first: where it can't be restored, the store is as it was. Cut
    short at any point, it leaves the old store, or the new one, or one that no server starts on.

    Args:
        source: what ``backup`` has made; it stays. One of an older format is brought up to date.
        path: the store; it need not be there.

    Returns:
        The store's size in bytes.

    Raises:
        StoreUnavailable: it can't be.
    """
    source, path = real_path(source), real_path(path)
    check_there(source)
    if source == path:
        raise StoreUnavailable(f"{path} can't be restored from itself")
    part = f"{path}{RESTORING}"
    lock = Lock(path)
    try:
        with _reported(f"can't restore {path}"):
            _remove(part, f"{part}-wal", f"{part}-shm")  # of one that was cut short
            with _made(part):
                _copy(source, part, _OLDEST)
                _bring_up_to_date(part)
                _check_copy(part, f"{source} is damaged, choose another")
                _put_in_place(part, path)
    finally:
        lock.release()
    return Path(path).stat().st_size


def _copy(path: str, part: str, oldest: int) -> None:
    """Copies a store, of this format or older ones, to a file that is there and empty."""
    check_there(path)
    connection = open_for_reading(Place(path), oldest=oldest)
    try:
        with reading_lines(path) as file:
            connection.execute("VACUUM INTO ?", (part,))
            if int(connection.pragma("user_version")) >= WITH_LINES_FILE:
                _bring_in(part, file)
    finally:
        connection.close(True)
    _sync(part)


def _bring_in(part: str, file: LinesFile | None) -> None:
    """Puts what is in the file of lines into a copy of the database."""
    copy = apsw.Connection(part)
    try:
        # A copy that is not finished is thrown away.
        copy.pragma("journal_mode", "off")
        copy.pragma("synchronous", "off")
        copy.execute("BEGIN")
        for number, lines, position, digest, place, size in copy.execute("SELECT * FROM extent"):
            data = read_extent(file, place, size)
            if not block_is_sound(number, lines, position, data, digest):
                raise OSError(f"block {number} is not what was written: run `batchq store check`")
            values = (number, lines, position, digest, data)
            copy.execute("INSERT INTO block VALUES (?,?,?,?,?)", values)
        copy.execute("DELETE FROM extent")
        copy.execute("COMMIT")
    finally:
        copy.close(True)


def _bring_up_to_date(part: str) -> None:
    """Gives a copy this batchq's format; it is one file again, and synced."""
    connection = open_for_writing(Place(part), full_sync=True)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.pragma("journal_mode", "delete")
    finally:
        connection.close(True)
    _sync(part)


def _check_copy(part: str, otherwise: str) -> None:
    """Looks at all of a copy. Raises ``StoreUnavailable`` where it is not sound."""
    with closing(check(part)) as findings:
        finding = next(findings, None)
    if finding is not None:
        raise StoreUnavailable(f"{otherwise}: {finding}")


def _put_in_place(part: str, path: str) -> None:
    """Puts a file in the place of a store.

    The old database goes first, for sure: what its WAL holds must never be applied to another.
    As long as there is none, no server starts beside ``part``.
    """
    _remove(path)
    sync_directory(path)
    _remove(f"{path}-wal", f"{path}-shm")
    sync_directory(path)
    Path(part).rename(path)
    sync_directory(path)
    # The new one has nothing in it.
    _remove(lines_path(path))


@contextmanager
def _made(part: str) -> Iterator[None]:
    """Makes an empty file, and removes what is left of it."""
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))
    except FileExistsError:
        raise StoreUnavailable(
            f"{part} exists: another backup is being made, or one was cut short; remove it then"
        ) from None
    try:
        yield
    finally:
        _remove(part, f"{part}-wal", f"{part}-shm")


@contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError, Corrupt) as error:
        raise StoreUnavailable(f"{what}: {error}") from error


def _remove(*names: str) -> None:
    for name in names:
        Path(name).unlink(missing_ok=True)


def _sync(name: str) -> None:
    with open(name, "rb") as file:  # noqa: PTH123 - a descriptor is needed
        os.fsync(file.fileno())
