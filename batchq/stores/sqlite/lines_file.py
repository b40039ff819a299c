"""The file of lines beside the database: ``<path>-lines``, for large blocks.

The database tells what is in it, and where; a transaction syncs it before it commits.
So each block is written once, where SQLite would write it to the WAL and again to its place.
This file knows nothing of what it holds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from batchq.errors import StoreUnavailable
from batchq.model import KIB
from batchq.stores.sqlite.errors import restoring
from batchq.stores.sqlite.lock import MODE

_CHUNK: Final = 256 * KIB
"""Bytes of one write: where a file grows, ext4 is far slower with larger ones."""

_FALLOC_FL_KEEP_SIZE: Final = 1
_FALLOC_FL_PUNCH_HOLE: Final = 2

_UNABLE: Final = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What a file system says that can't punch holes."""


class SyncFailed(Exception):
    """Nobody knows what is on the disk."""


def lines_path(path: str) -> str:
    """Gives the name of the file of lines of a database."""
    return f"{path}-lines"


class LinesFile:
    """The file, open.

    Args:
        path: the database.
        write: open it to write, and create it if need be; else it has to be there.

    Attributes:
        punches: the file system can give back parts of a file, as far as is known.

    Raises:
        StoreUnavailable: it can't be opened.
    """

    def __init__(self, path: str, *, write: bool) -> None:
        self.path = lines_path(path)
        self._database = path
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        try:
            self._fd = os.open(self.path, flags | os.O_CLOEXEC, MODE)
            if write and not os.fstat(self._fd).st_size:
                sync_directory(self.path)
        except OSError as error:
            raise StoreUnavailable(
                f"can't open {self.path}, which belongs to {path}: {error.strerror}; a store is "
                "moved with all its files, and copied by `batchq store backup`"
            ) from error
        self.punches = True

    def close(self) -> None:
        """Closes it. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def check_size(self, least: int) -> None:
        """Looks whether the file is as long as what should be in it.

        Raises:
            StoreUnavailable: it isn't.
        """
        size = os.fstat(self._fd).st_size
        if size < least:
            raise StoreUnavailable(
                f"{self.path} has {size} bytes and should have {least} at least: it is not the "
                f"one that belongs to the database; {restoring(self._database)}"
            )

    @property
    def allocated(self) -> int:
        """Bytes that it takes on the disk."""
        return os.fstat(self._fd).st_blocks * 512

    def read(self, place: int, size: int) -> bytes:
        """Gives bytes from a place on; fewer at the end of the file."""
        data = os.pread(self._fd, size, place)
        while 0 < len(data) < size:
            more = os.pread(self._fd, size - len(data), place + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, place: int, data: bytes | memoryview) -> None:
        """Writes bytes to a place. Raises ``OSError``; some may be written then."""
        view, at = memoryview(data), 0
        while at < len(view):
            at += os.pwrite(self._fd, view[at : at + _CHUNK], place + at)

    def sync(self) -> None:
        """Returns when all that was written is on the disk.

        Raises:
            SyncFailed: it may not be.
        """
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise SyncFailed(f"{self.path} could not be synced: {error.strerror}") from error

    def uncache(self, place: int, size: int) -> None:
        """Lets what is on the disk leave the page cache; a hint, where the system takes it."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, place, size, os.POSIX_FADV_DONTNEED)

    # Space that is given back

    def truncate(self, size: int) -> None:
        """Gives back what is behind this many bytes."""
        if os.fstat(self._fd).st_size > size:
            os.ftruncate(self._fd, size)

    def punch(self, place: int, size: int) -> None:
        """Gives bytes back to the file system, where that can; they read as zeros then."""
        if not self.punches:
            return
        fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
        if fallocate is None:
            self.punches = False
            return
        offset, length = ctypes.c_int64(place), ctypes.c_int64(size)
        mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
        if fallocate(self._fd, mode, offset, length) == 0:
            return
        number = ctypes.get_errno()
        if number not in _UNABLE:
            raise OSError(number, os.strerror(number), self.path)
        self.punches = False

    # Other processes that read, such as a backup

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """Keeps what is in the file from being overwritten meanwhile, done with or not."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    @property
    def unread(self) -> bool:
        """Nobody else reads what was done with before now."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True


def write_all(file: LinesFile, blocks: Sequence[tuple[int, bytes | memoryview]]) -> None:
    """Writes blocks to their places and syncs them. Raises ``OSError``, ``SyncFailed``."""
    for place, data in blocks:
        file.write(place, data)
    if blocks:
        file.sync()


def sync_if_there(path: str) -> None:
    """Syncs a file, if there is one of this name. Raises ``StoreUnavailable``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(fd)
    except OSError as error:
        raise StoreUnavailable(f"{path} could not be synced: {error.strerror}") from error
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Returns when a file's name is on the disk, or that it is gone. Raises ``OSError``."""
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH100, PTH120 - names for os.open
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
