"""How a writer begins: anew, or where an earlier one was ended."""

from __future__ import annotations

import logging
from typing import Final

from batchq_client.copy.addresses import LocalAddress, PathAddress, QueueAddress
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import CopyError
from batchq_client.copy.record import Left, WriterRecord
from batchq_client.copy.source import Source
from batchq_client.copy.writer import QueueWriter
from batchq_client.model import QueueStats

_log: Final = logging.getLogger(__name__)


def open_record(
    address: LocalAddress, queue: QueueAddress, source: Source, options: CopyOptions
) -> WriterRecord | None:
    """Opens what is kept for a source and a queue; None where nothing can be kept.

    Raises:
        CopyError: an earlier copy is to be resumed, and its record can't be opened.
    """
    if options.state_dir is None or not source.regular or not isinstance(address, PathAddress):
        return None
    text = "another copy of the same source to the same queue is running"
    try:
        record = WriterRecord.open(options.state_dir, address.path, str(queue), source.fd)
    except OSError as error:
        text = f"can't use {options.state_dir}: {error.strerror or error}"
        record = None
        if not options.resume:
            _log.warning("%s; this copy can't be gone on with, should it be ended", text)
    if record is None and options.resume:
        raise CopyError(text)
    return record


async def begin(
    source: Source, writer: QueueWriter, record: WriterRecord | None, options: CopyOptions
) -> bool:
    """Opens the queue, and the source where the queue's lines of it end.

    Returns:
        Whether the earlier writer had closed the queue with all lines: nothing is to be done.

    Raises:
        CopyError: it can't be gone on with.
        ClientError: the server can't be reached, or refuses.
    """
    stats = None
    left = record.left() if record is not None and options.resume else None
    if left is not None:
        stats = await _resume(source, writer, left)
    elif options.resume:
        stats = await _check_unused(source, writer)
    if stats is not None:
        return stats.closed
    if record is not None and left is None:
        record.begin(writer.producer)
    await writer.open()
    if record is not None and writer.queue_id is not None:
        record.writes_to(writer.queue_id)
    return False


async def _resume(source: Source, writer: QueueWriter, left: Left) -> QueueStats | None:
    stats = await writer.resume(left.producer, left.queue_id)
    if stats is None:
        return None
    await source.skip(writer.bytes, left.checkpoint)
    size = source.size or 0
    stored = writer.bytes
    if stored > size:
        # The queue has a newline more than the source.
        writer.bytes, writer.unterminated = size, True
    if stats.closed and (
        stored < size or (writer.alone and stats.digest not in (None, source.digest))
    ):
        raise CopyError("the queue was closed before all of the source was in it: write it anew")
    return stats


async def _check_unused(source: Source, writer: QueueWriter) -> QueueStats | None:
    """Refuses to begin anew where lines of a forgotten copy may be.

    Returns:
        The queue, if all of the source is in it and it was closed: the earlier writer was
        ended when nothing was left to do but to say so. None where it has no lines.

    Raises:
        CopyError: the queue has lines, and it is not known which.
    """
    stats = await writer.stats()
    if stats is None:
        return None
    if stats.closed and source.size == stats.bytes - int(stats.unterminated):
        await source.skip(stats.bytes, (0, ""))
        if source.digest == stats.digest:
            writer.had(stats)
            return stats
    if not stats.lines:
        return None
    raise CopyError(
        "there is no record of an earlier copy of this source to this queue, and the queue "
        "has lines: leave out --resume to add all lines of the source to it (a record is found "
        "by the URL as it is written: another name of the same host is another queue)"
    )
