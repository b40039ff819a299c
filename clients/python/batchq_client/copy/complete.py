"""Whether a copy that is to be resumed was complete already.

A command can be killed after its last step and before it has said so. Started again, it
finds neither part file nor record: then the destination itself, compared with what the queue
says of its content, tells whether anything is left to do.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchq_client.client import Client
from batchq_client.copy.digest import PayloadDigest
from batchq_client.copy.journal import Journal, JournalBusyError
from batchq_client.copy.part import digest_prefix, journal_of, part_of
from batchq_client.copy.retry import Patience, patiently
from batchq_client.copy.threads import BlockingThread
from batchq_client.errors import NoSuchQueue, QueueReplaced
from batchq_client.model import QueueStats


@dataclass(frozen=True, slots=True)
class Done:
    r"""A destination that has all of its queue.

    Attributes:
        queue_id: the life that was read.
        lines: its lines.
        bytes: the destination's size.
        digest: over the destination.
        unterminated: its last line has no ``\n``.
        compared: the digest is the one that the writer gave.
    """

    queue_id: str | None
    lines: int
    bytes: int
    digest: str
    unterminated: bool
    compared: bool


async def in_place(
    client: Client, queue: str, path: Path, source: str, retry_for: float
) -> Done | None:
    """Finds out whether an earlier reader had given the destination its name.

    Args:
        client: of the queue's server.
        queue: its name.
        path: the destination.
        source: the queue's URL.
        retry_for: seconds for which a fault is retried.

    Returns:
        What is there; None where it is not known to be all of the queue.

    Raises:
        CopyError, ClientError: the server can't be reached, or refuses.
    """
    if _size(part_of(path)) or _size(path) is None:
        return None
    thread = BlockingThread("batchq-destination")
    try:
        done = await thread.submit(lambda: _by_journal(path, source))
        if done is not None:
            return done
        stats = await _drained(client, queue, retry_for)
        if stats is None:
            return None
        return await thread.submit(lambda: _by_digest(path, stats))
    finally:
        thread.stop()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _by_journal(path: Path, source: str) -> Done | None:
    """Compares with a journal that the earlier reader had no time to remove."""
    name = journal_of(path)
    if not name.exists():
        return None
    try:
        journal = Journal.open(name)
    except (JournalBusyError, OSError):
        return None
    try:
        last = journal.records[-1] if journal.records else {}
        if "bytes" not in last or journal.records[0].get("source") != source:
            return None
        unterminated = _size(path) == int(last["bytes"]) - 1
        digest = digest_of(path)
        if digest is None or payload_text(digest, unterminated=unterminated) != last["digest"]:
            return None
        journal.remove()
        return Done(
            queue_id=last["queue_id"],
            lines=int(last["lines"]),
            bytes=int(last["bytes"]) - int(unterminated),
            digest=digest.text(unterminated=False),
            unterminated=unterminated,
            compared=False,
        )
    finally:
        journal.close()


async def _drained(client: Client, queue: str, retry_for: float) -> QueueStats | None:
    """The queue, if it was read to its end and its writer left a digest."""
    try:
        stats = await patiently(Patience(retry_for), lambda: client.queue(queue))
    except (NoSuchQueue, QueueReplaced):
        return None
    return stats if stats.drained and stats.digest is not None else None


def _by_digest(path: Path, stats: QueueStats) -> Done | None:
    size = stats.bytes - int(stats.unterminated)
    if _size(path) != size:
        return None
    digest = digest_of(path)
    if digest is None or digest.text(unterminated=False) != stats.digest:
        return None
    with suppress(OSError):
        journal_of(path).unlink()
    return Done(
        queue_id=stats.queue_id,
        lines=stats.lines,
        bytes=size,
        digest=stats.digest,
        unterminated=stats.unterminated,
        compared=True,
    )


def digest_of(path: Path) -> PayloadDigest | None:
    """Reads a file for its digest; None where it changes meanwhile. Blocks."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return digest_prefix(lambda size, at: os.pread(fd, size, at), os.fstat(fd).st_size)
    finally:
        os.close(fd)


def payload_text(digest: PayloadDigest, *, unterminated: bool) -> str:
    r"""The digest of a file with the ``\n`` that its queue has more."""
    if not unterminated:
        return digest.text(unterminated=False)
    whole = digest.copy()
    whole.update(b"\n")
    return whole.text(unterminated=False)
