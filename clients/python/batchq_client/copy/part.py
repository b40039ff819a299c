"""The part file of a destination, and the journal beside it: what a reader leaves behind.

The journal says how much of the part file is safe; lines are acknowledged only after that.
So the next run can go on from there, provided that nobody changed the one or the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final

from batchq_client.copy.commits import Mark
from batchq_client.copy.digest import PayloadDigest
from batchq_client.copy.journal import Journal, JournalBusyError, Record
from batchq_client.copy.outcome import CopyError, UsageError

PART: Final = ".part"
JOURNAL: Final = ".part.journal"
_MODE: Final = 0o666
_BLOCK: Final = 1024 * 1024
_BEGIN_ANEW: Final = "leave out --resume to begin anew"


def part_of(path: Path) -> Path:
    """The name of the file that a destination is written to first."""
    return path.with_name(path.name + PART)


def journal_of(path: Path) -> Path:
    """The name of the journal of that file."""
    return path.with_name(path.name + JOURNAL)


@dataclass(slots=True)
class Part:
    """An open part file with its journal, both this copy's alone.

    Attributes:
        fd: the part file, ready for what comes next.
        journal: says how much of it is safe.
        mark: what it holds already.
        digest: over that.
    """

    fd: int
    journal: Journal
    mark: Mark
    digest: PayloadDigest

    def note(self, mark: Mark, digest: str) -> None:
        """Makes the part file safe, and then notes that. Blocks."""
        os.fdatasync(self.fd)
        told = {"queue_id": mark.queue_id, "lines": mark.lines, "bytes": mark.bytes}
        self.journal.append({**told, "digest": digest}, sync=True)


def open_part(path: Path, source: str, *, resume: bool) -> Part:
    """Opens the part file of a destination. Blocks.

    Args:
        path: the destination.
        source: the queue's URL.
        resume: go on with what is there; otherwise it is begun anew.

    Raises:
        UsageError: another copy has it.
        CopyError: what is there can't be gone on with.
        OSError: it can't be opened.
    """
    part = part_of(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(part, flags, _MODE)
    journal: Journal | None = None
    try:
        flock(fd, LOCK_EX | LOCK_NB)
        journal = Journal.open(journal_of(path))
        mark, digest = Mark(None, 0, 0), PayloadDigest()
        if resume:
            mark, digest = _resumed(fd, part, journal, source)
        os.ftruncate(fd, mark.bytes)
        os.lseek(fd, mark.bytes, os.SEEK_SET)
        if not (resume and journal.records):
            journal.begin({"source": source})
    except BaseException as error:
        os.close(fd)
        if journal is not None:
            journal.close()
        if isinstance(error, BlockingIOError | JournalBusyError):
            raise UsageError(f"another copy is writing {part}") from None
        raise
    return Part(fd, journal, mark, digest)


def _resumed(fd: int, part: Path, journal: Journal, source: str) -> tuple[Mark, PayloadDigest]:
    """What an earlier copy left.

    Raises:
        CopyError: it is another queue's, or was changed.
    """
    if not journal.records:
        if os.fstat(fd).st_size:
            journal.remove()
            raise CopyError(f"{part} has no journal that says what it is: {_BEGIN_ANEW}")
        return Mark(None, 0, 0), PayloadDigest()
    first, last = journal.records[0], journal.records[-1]
    if first.get("source") != source:
        raise CopyError(
            f"{part} is a part of {first.get('source')}, not of {source}: {_BEGIN_ANEW}"
        )
    if last.get("gaps"):
        raise CopyError(
            f"{part} lacks lines that went to other readers, and can't be gone on with: "
            f"{_BEGIN_ANEW}"
        )
    if len(journal.records) == 1:
        return Mark(None, 0, 0), PayloadDigest()
    mark = _mark(last)
    if os.fstat(fd).st_size == mark.bytes - 1:
        # The earlier reader was about to give the file its name: it had taken the last
        # newline away, which its source did not have.
        os.pwrite(fd, b"\n", mark.bytes - 1)
    digest = digest_prefix(lambda size, at: os.pread(fd, size, at), mark.bytes)
    if digest is None or digest.text(unterminated=False) != last["digest"]:
        raise CopyError(f"{part} was changed since it was written: {_BEGIN_ANEW}")
    return mark, digest


def _mark(record: Record) -> Mark:
    return Mark(record["queue_id"], int(record["lines"]), int(record["bytes"]))


def digest_prefix(read: Callable[[int, int], bytes], size: int) -> PayloadDigest | None:
    """Reads the first bytes of a file for their digest; None where it has fewer."""
    digest = PayloadDigest()
    at = 0
    while at < size:
        block = read(min(_BLOCK, size - at), at)
        if not block:
            return None
        digest.update(block)
        at += len(block)
    return digest
