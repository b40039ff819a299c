"""Who may use a store's files: one server, whatever name it knows them by."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from batchq.errors import StoreUnavailable

MODE: Final = 0o600
"""Of all of a store's files: lines are their owner's alone. SQLite gives ``-wal`` and ``-shm`` the
database's."""

_held: Final[set[tuple[int, int]]] = set()
"""Databases (device and inode) that this process has locked."""


def real_path(path: str | os.PathLike[str]) -> str:
    """Gives the one name of a file that is reached by several, as SQLite sees it.

    The files beside a database are named after it: two names would make two sets of them.
    """
    return os.path.realpath(path)


class Lock:
    """Keeps other servers from a store, with two locks that hold as long as the process lives.

    An flock on ``<path>.lock`` is the first: it stays where the database is replaced. Somebody
    may delete that file, or reach the database by a hard link: so the second is an flock on the
    database itself. Take it before SQLite opens the database, and release it after SQLite has
    closed it, as any ``close`` of the file would drop the locks of SQLite, which belong to the
    process.

    Args:
        path: the database, as ``real_path`` gives it; it is created, empty, with its directory.

    Raises:
        StoreUnavailable: another process has it, or it can't be made.
    """

    def __init__(self, path: str) -> None:
        if Path(path).is_dir():
            raise StoreUnavailable(f"{path} is a directory; name a file, such as {path}/queues")
        self._path = path
        self._fds: list[int] = []
        self._inode: tuple[int, int] | None = None
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            beside = self._flock(f"{path}.lock")
            if _inode_of(path) in _held:
                raise self._in_use(beside)
            status = os.fstat(self._flock(path))
        except OSError as error:
            self.release()
            raise StoreUnavailable(f"can't lock {path}: {error.strerror}") from error
        except StoreUnavailable:
            self.release()
            raise
        self._inode = (status.st_dev, status.st_ino)
        _held.add(self._inode)
        # Whose it is, for people; a full disk must not keep a server from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(beside, 0)
            os.pwrite(beside, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets others have the store. May be called twice."""
        while self._fds:
            os.close(self._fds.pop())
        if self._inode is not None:
            _held.discard(self._inode)
            self._inode = None

    def _flock(self, name: str) -> int:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        self._fds.append(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise self._in_use(self._fds[0]) from None
        return fd

    def _in_use(self, beside: int) -> StoreUnavailable:
        holder = os.pread(beside, 32, 0).decode("ascii", "replace").strip()
        return StoreUnavailable(
            f"{self._path} is in use by another batchq (process {holder or 'unknown'}); stop that "
            "one, or give this one a file of its own"
        )


def _inode_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - as os.fstat gives it
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
