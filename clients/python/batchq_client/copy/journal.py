"""A small file that tells the next run how far this one came.

Records are appended and never changed, each with a checksum, so that a record torn by a
crash is not taken for one: the records before it stand.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, Final, Self

import xxhash

Record = dict[str, Any]

_MODE: Final = 0o600
_NEWLINE: Final = b"\n"
_SEPARATOR: Final = b"\t"


class JournalBusyError(Exception):
    """Another process has the journal."""


class Journal:
    """An open journal, this process's alone. Its calls block.

    Args:
        fd: the file, locked.
        path: where it is.
        records: those that it holds.
    """

    def __init__(self, fd: int, path: Path, records: list[Record]) -> None:
        self._fd = fd
        self._path = path
        self.records = records

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens a journal, or makes one.

        Raises:
            JournalBusyError: another process has it.
            OSError: it can't be opened.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path, flags, _MODE)
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            content = _content(fd)
            records, valid = _read(content)
            if valid < len(content):
                # Behind a torn record, the next one would be torn as well.
                os.ftruncate(fd, valid)
            return cls(fd, path, records)
        except BlockingIOError:
            os.close(fd)
            raise JournalBusyError(str(path)) from None
        except OSError:
            os.close(fd)
            raise

    def begin(self, record: Record) -> None:
        """Forgets all records, and begins with this one."""
        os.ftruncate(self._fd, 0)
        self.records = []
        self.append(record, sync=True)
        # A file that is safe is of no use while its name is not.
        sync_folder(self._path.parent)

    def append(self, record: Record, *, sync: bool) -> None:
        """Adds a record.

        Args:
            record: JSON values by name.
            sync: it is on the disk when this returns.
        """
        text = json.dumps(record, separators=(",", ":")).encode()
        line = text + _SEPARATOR + _checksum(text) + _NEWLINE
        if os.write(self._fd, line) != len(line):
            raise OSError(f"{self._path}: a record was cut short")
        if sync:
            os.fdatasync(self._fd)
        self.records.append(record)

    def remove(self) -> None:
        """Removes the file; it stays open until ``close``."""
        with suppress(FileNotFoundError):
            self._path.unlink()

    def close(self) -> None:
        """Closes it and lets others have it."""
        os.close(self._fd)


def sync_folder(folder: Path) -> None:
    """Makes the names of a folder's files safe. Blocks.

    Raises:
        OSError: that failed.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _read(content: bytes) -> tuple[list[Record], int]:
    """Reads records up to the first that is not whole; tells where that one begins."""
    records: list[Record] = []
    valid = 0
    for line in content.splitlines(keepends=True):
        text, _, checksum = line.rstrip(_NEWLINE).rpartition(_SEPARATOR)
        if not line.endswith(_NEWLINE) or checksum != _checksum(text):
            break
        records.append(json.loads(text))
        valid += len(line)
    return records, valid


def _checksum(text: bytes) -> bytes:
    return xxhash.xxh3_64(text).hexdigest().encode()
