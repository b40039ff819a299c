"""What a writer keeps, so that it can be resumed: which producer it was, and what its source was.

It is kept in the user's state directory, for each pair of source and queue, as the source's
own directory may not be writable. How far the writer came is not in it: the queue knows that.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import xxhash

from batchq_client.copy.journal import Journal, JournalBusyError
from batchq_client.copy.outcome import CopyError

_ANEW: Final = "leave out --resume to write it anew, to a queue without its lines"
_SPACING: Final = 1024 * 1024
"""Bytes between two checkpoints, about."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file is known by. Not its device's number: that may change when it is mounted again.

    Attributes:
        inode: its number in its file system.
        size: bytes.
        mtime_ns: when it was last written, in nanoseconds of the Unix time.
    """

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, fd: int) -> Self:
        """Of an open file."""
        status = os.fstat(fd)
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Left:
    """What an earlier writer left.

    Attributes:
        producer: its producer id.
        queue_id: the life that it wrote to, or None where it did not come to know it.
        checkpoint: bytes of the source that were stored at some time, and their digest.
    """

    producer: str
    queue_id: str | None
    checkpoint: tuple[int, str]


class WriterRecord:
    """The record of one writer. Its calls block for a moment.

    Args:
        journal: where it is kept.
        identity: the source's.
    """

    def __init__(self, journal: Journal, identity: Identity) -> None:
        self._journal = journal
        self._identity = identity
        self._checkpoint = 0
        self._due: deque[tuple[int, int, str]] = deque()
        self._written = any("queue_id" in record for record in journal.records)

    @classmethod
    def open(cls, folder: Path, source: Path, queue: str, fd: int) -> Self | None:
        """Opens the record of a source and a queue; None where another writer has it.

        Args:
            folder: where records are kept; it is made if need be.
            source: the source's path.
            queue: the queue's URL.
            fd: the source, open.

        Raises:
            OSError: it can't be opened.
        """
        key = f"{os.path.realpath(source)}\0{queue}".encode(errors="surrogateescape")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            journal = Journal.open(folder / f"{xxhash.xxh3_128(key).hexdigest()}.journal")
        except JournalBusyError:
            return None
        return cls(journal, Identity.of(fd))

    def left(self) -> Left | None:
        """What an earlier writer left; None where it left nothing.

        Raises:
            CopyError: the source is not the one that it wrote.
        """
        producer: str | None = None
        queue_id: str | None = None
        checkpoint = (0, "")
        for record in self._journal.records:
            producer = record.get("producer", producer)
            queue_id = record.get("queue_id", queue_id)
            if "source" in record and record["source"] != asdict(self._identity):
                raise CopyError(f"the source was changed since its copy began: {_ANEW}")
            if "bytes" in record:
                checkpoint = (int(record["bytes"]), str(record["digest"]))
        return None if producer is None else Left(producer, queue_id, checkpoint)

    def begin(self, producer: str) -> None:
        """Notes a new writer, before it sends anything."""
        self._written = False
        self._journal.begin({"producer": producer, "source": asdict(self._identity)})

    def writes_to(self, queue_id: str) -> None:
        """Notes the life that is written to, before any line is."""
        self._append({"queue_id": queue_id}, sync=True)
        self._written = True

    @property
    def written(self) -> bool:
        """There may be lines of its writer in a queue."""
        return self._written

    def wants(self, size: int) -> bool:
        """It is time for a checkpoint."""
        return size - self._checkpoint >= _SPACING

    def sent(self, seq: int, size: int, digest: str) -> None:
        """Remembers a checkpoint: the source up to the batch ``seq``."""
        self._checkpoint = size
        self._due.append((seq, size, digest))

    def stored(self, below: int) -> None:
        """Notes the last checkpoint of which all is stored. A lost note does no harm.

        Args:
            below: all batches with lower numbers are stored.
        """
        last: tuple[int, int, str] | None = None
        while self._due and self._due[0][0] < below:
            last = self._due.popleft()
        if last is not None:
            self._append({"bytes": last[1], "digest": last[2]}, sync=False)

    def done(self) -> None:
        """Forgets it: there is nothing to go on with."""
        self._journal.remove()

    def close(self) -> None:
        """Lets others have it."""
        self._journal.close()

    def _append(self, record: dict[str, Any], *, sync: bool) -> None:
        self._journal.append(record, sync=sync)
