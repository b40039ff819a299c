"""What an error of the database means: a full disk, or the end of the store."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from batchq.errors import BatchqError, DiskFull, StoreUnavailable

_FULL_ERRNOS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_SYNC_ERRORS: Final = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}
"""After a failed fsync nobody knows what is on the disk, whatever its reason was."""


class Corrupt(Exception):
    """The file holds something else than what was written to it."""


@contextmanager
def reading() -> Iterator[None]:
    """Makes a ``Corrupt`` of what comes of values in the file that can't be."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise Corrupt(f"a value is not what was written: {error!r}") from error


def restoring(path: str) -> str:
    """Says how to get back what a damaged store held."""
    return f"restore a backup: `batchq store restore BACKUP {path}`"


def is_full(connection: apsw.Connection, error: Exception) -> bool:
    """Tells whether an operation failed for want of room alone, and was undone cleanly.

    Args:
        connection: where it failed, and nothing was done since.
        error: what was raised.
    """
    if isinstance(error, OSError):
        return error.errno in _FULL_ERRNOS
    if isinstance(error, apsw.FullError):
        return True
    return (
        isinstance(error, apsw.IOError)
        and getattr(error, "extendedresult", 0) not in _SYNC_ERRORS
        and connection.system_errno in _FULL_ERRNOS
    )


def disk_full(path: str) -> DiskFull:
    """Makes the error for a push that finds no room on the disk."""
    return DiskFull(
        f"the disk that holds {path} is full, or nearly so; pull from the queues or free some "
        "room, then push again"
    )


def failed(path: str, error: Exception) -> StoreUnavailable:
    """Makes the error for everything that comes after the store has failed."""
    if isinstance(error, BatchqError):
        return StoreUnavailable(error.detail)
    if isinstance(error, Corrupt | apsw.CorruptError | apsw.NotADBError):
        advice = f"run `batchq store check {path}`, and {restoring(path)}"
    else:
        advice = "look after the disk, then start the server again: what was answered is there"
    return StoreUnavailable(f"the store {path} has failed and stopped ({error}); {advice}")
