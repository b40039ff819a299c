"""The three copies: into a queue, out of one, from one to another.

Each opens its sides, moves all batches, ends both sides and says in the summary what was
done. What is started is ended, whatever happens.
"""

from __future__ import annotations

import asyncio

import xxhash

from batchq_client.client import Client
from batchq_client.copy.addresses import LocalAddress, PathAddress, QueueAddress
from batchq_client.copy.commits import Mark
from batchq_client.copy.complete import in_place
from batchq_client.copy.digest import PayloadDigest
from batchq_client.copy.limits import LineLimit
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import (
    DIGEST_DIFFERS,
    INCOMPLETE,
    NOT_CLOSED,
    CopyError,
    Progress,
    Summary,
)
from batchq_client.copy.reader import QueueReader
from batchq_client.copy.record import WriterRecord
from batchq_client.copy.resume import begin, open_record
from batchq_client.copy.retry import Patience, patiently
from batchq_client.copy.sink import FileSink, Sink, open_sink, real_path
from batchq_client.copy.source import Source, open_source
from batchq_client.copy.writer import QueueWriter
from batchq_client.lines import Cut
from batchq_client.model import Pulled


async def write_queue(
    source: LocalAddress,
    queue: QueueAddress,
    options: CopyOptions,
    progress: Progress,
    summary: Summary,
    *,
    local: bool = False,
) -> None:
    """Copies a local source into a queue, and closes it.

    Args:
        source: where from.
        queue: where to.
        options: what was chosen.
        progress: counts what is stored.
        summary: told what was done.
        local: the queue's server is the copy's own.

    Raises:
        CopyError: it failed. The queue is not closed then.
        ClientError: the same, as the server said it.
    """
    opened = await open_source(source)
    record: WriterRecord | None = None
    try:
        progress.total_bytes = opened.size
        record = open_record(source, queue, opened, options)
        async with Client(queue.base_url) as client:
            health = await patiently(Patience(options.retry_for), client.healthz)
            limit = LineLimit.of(health, local=local)
            await opened.check(limit)
            writer = QueueWriter(client, queue.queue, options, progress)
            try:
                await _write(opened, writer, record, options, limit, summary)
            finally:
                await writer.abandon()
                _tell_writer(writer, summary)
    finally:
        if record is not None:
            if summary.complete or not record.written:
                record.done()
            record.close()
        opened.close()


async def _write(
    source: Source,
    writer: QueueWriter,
    record: WriterRecord | None,
    options: CopyOptions,
    limit: LineLimit | None,
    summary: Summary,
) -> None:
    closed = await begin(source, writer, record, options)
    summary.queue_id = writer.queue_id
    if not closed:
        await _push_all(source, writer, record, options, limit)
    summary.digest = source.digest
    if options.keep_open:
        await writer.flush()
        if writer.unterminated:
            summary.warnings.append(
                "the last line had no newline; one was added, as the queue stays open"
            )
    else:
        if not closed:
            await writer.close(source.digest, unterminated=writer.unterminated)
        summary.closed = True
    summary.complete = True


async def _push_all(
    source: Source,
    writer: QueueWriter,
    record: WriterRecord | None,
    options: CopyOptions,
    limit: LineLimit | None,
) -> None:
    """Pushes what is left of a source, and notes how far it came."""
    digest = xxhash.xxh3_128()
    size = 0
    resumed = writer.bytes > 0
    async for cut in source.batches(options, limit):
        seq = writer.sent
        await writer.push(cut)
        # A writer that was resumed has its first checkpoint already.
        if record is not None and not resumed:
            digest.update(cut.data)
            size += len(cut.data)
            if record.wants(size):
                record.sent(seq, size, f"xxh3-128:{digest.hexdigest()}")
            record.stored(writer.stored)


async def read_queue(
    queue: QueueAddress,
    destination: LocalAddress,
    options: CopyOptions,
    progress: Progress,
    summary: Summary,
) -> None:
    """Copies a queue's lines to a local destination.

    Raises:
        CopyError: it failed, and why: see ``EXIT_CODES``. No file has the destination's name.
        ClientError: the same, as the server said it.
    """
    if await _was_complete(queue, destination, options, summary):
        return
    sink = await open_sink(destination, options.linger, str(queue), resume=options.resume)
    try:
        async with Client(queue.base_url) as client:
            receiver = _SinkReceiver(sink, progress)
            reader = QueueReader(client, queue.queue, options, receiver.mark)
            try:
                await reader.run(receiver)
                _judge(reader, receiver.digest, options, summary)
                await _finish(sink, reader, summary)
            finally:
                _tell_reader(reader, summary)
    except BaseException as error:
        await _keep(sink, error)
        raise
    finally:
        sink.close()


async def _was_complete(
    queue: QueueAddress, destination: LocalAddress, options: CopyOptions, summary: Summary
) -> bool:
    """Finds out whether a copy to be resumed had ended; then says in the summary what it did."""
    if not options.resume or not isinstance(destination, PathAddress):
        return False
    async with Client(queue.base_url) as client:
        path = real_path(destination.path)
        done = await in_place(client, queue.queue, path, str(queue), options.retry_for)
    if done is None:
        return False
    summary.queue_id, summary.closed, summary.complete = done.queue_id, True, True
    summary.lines, summary.bytes = done.lines, done.bytes
    summary.digest, summary.digest_compared = done.digest, done.compared
    summary.unterminated = done.unterminated
    return True


class _SinkReceiver:
    """Writes a reader's lines to a sink.

    Args:
        sink: the destination.
        progress: counts what is written.

    Attributes:
        digest: over all that is written.
        mark: what the sink held before.
    """

    def __init__(self, sink: Sink, progress: Progress) -> None:
        self._sink = sink
        self._progress = progress
        self.mark: Mark | None = None
        self.digest = PayloadDigest()
        if isinstance(sink, FileSink):
            self.mark, self.digest = sink.part.mark, sink.part.digest
            progress.lines, progress.bytes = self.mark.lines, self.mark.bytes

    async def deliver(self, batch: Pulled) -> None:
        """Writes a batch."""
        await self._sink.write(batch.data)
        self.digest.update(batch.data)
        self._progress.lines += batch.lines
        self._progress.bytes += len(batch.data)

    async def secure(self, mark: Mark | None) -> None:
        """Makes the file safe."""
        await self._sink.secure(mark, self.digest.text(unterminated=False))

    async def acknowledged(self) -> None:
        """Tells the sink."""
        await self._sink.acknowledged()


class _WriterReceiver:
    """Passes a reader's lines on to a queue.

    Args:
        writer: the queue's.

    Attributes:
        digest: over all that was passed on.
    """

    def __init__(self, writer: QueueWriter) -> None:
        self._writer = writer
        self.digest = PayloadDigest()

    async def deliver(self, batch: Pulled) -> None:
        """Pushes a batch; it need not be stored when this returns."""
        await self._writer.push(Cut(batch.data, batch.lines))
        self.digest.update(batch.data)

    async def secure(self, mark: Mark | None) -> None:  # noqa: ARG002  queues know what they have
        """Waits until all that was pushed is stored."""
        await self._writer.until_stored(self._writer.sent)

    async def acknowledged(self) -> None:
        """Has nothing to do."""


async def relay(
    source: QueueAddress,
    destination: QueueAddress,
    options: CopyOptions,
    progress: Progress,
    summary: Summary,
) -> None:
    """Copies a queue's lines into another queue.

    The other queue is closed as the first one was, with its digest, when all lines came.

    Raises:
        CopyError: it failed; the other queue is not closed then.
        ClientError: the same, as one of the servers said it.
    """
    async with Client(source.base_url) as taking, Client(destination.base_url) as giving:
        reader = QueueReader(taking, source.queue, options)
        writer = QueueWriter(giving, destination.queue, options, progress)
        receiver = _WriterReceiver(writer)
        try:
            await writer.open()
            await reader.run(receiver)
            await writer.flush()
            _judge(reader, receiver.digest, options, summary)
            end = reader.end
            if end is not None and not options.keep_open:
                whole = reader.complete
                await writer.close(
                    summary.digest if whole else None, unterminated=whole and end.unterminated
                )
        finally:
            await writer.abandon()
            _tell_reader(reader, summary)


def _judge(
    reader: QueueReader, digest: PayloadDigest, options: CopyOptions, summary: Summary
) -> None:
    """Compares what came with what the writer said.

    Raises:
        CopyError: it is not the same, or not known to be.
    """
    end = reader.end
    if reader.late:
        summary.warnings.append(
            f"{reader.late} lines that another reader gave back came late, and stand behind "
            "later ones"
        )
    if end is None:
        if not options.until_idle:
            raise CopyError(
                f"the queue is not closed, and {options.retries} pulls of {options.wait:g} s "
                "in a row got nothing",
                NOT_CLOSED,
            )
        return
    if not reader.complete:
        if reader.lines == end.lines:
            raise CopyError(
                f"{reader.bytes} bytes came, but the queue had {end.bytes}", DIGEST_DIFFERS
            )
        text = f"{end.lines - reader.lines} of the queue's {end.lines} lines went to other readers"
        if not options.shared:
            raise CopyError(f"{text} (--shared takes that as success)", INCOMPLETE)
        summary.warnings.append(f"{text}; the digest is not compared")
        return
    if reader.late:
        return
    summary.digest = digest.text(unterminated=end.unterminated)
    if end.digest is not None:
        summary.digest_compared = True
        if end.digest != summary.digest:
            raise CopyError(
                f"the digest is {summary.digest}, but the writer's is {end.digest}",
                DIGEST_DIFFERS,
            )
    summary.complete = True


async def _finish(sink: Sink, reader: QueueReader, summary: Summary) -> None:
    end = reader.end
    unterminated = end is not None and end.unterminated and reader.complete
    exact = await sink.finish(unterminated=unterminated)
    if not exact:
        raise CopyError(
            "the source's last line has no newline, but one was written already: "
            "the end came late (see --linger)",
            DIGEST_DIFFERS,
        )
    summary.unterminated = unterminated


async def _keep(sink: Sink, error: BaseException) -> None:
    """Makes what came safe, and says where it is."""
    final = isinstance(error, CopyError) and error.exit_code == DIGEST_DIFFERS
    try:
        async with asyncio.timeout(sink.keep_seconds):
            await sink.keep()
            if final:
                await sink.give_up()
    except (CopyError, TimeoutError):
        return
    if sink.kept is not None:
        error.add_note(f"what came is in {sink.kept}")


def _tell_writer(writer: QueueWriter, summary: Summary) -> None:
    summary.queue_id = writer.queue_id
    summary.lines, summary.bytes = writer.lines, writer.bytes
    summary.unterminated = writer.unterminated


def _tell_reader(reader: QueueReader, summary: Summary) -> None:
    summary.queue_id = reader.queue_id
    summary.closed = reader.end is not None
    summary.lines = reader.lines
    summary.bytes = reader.bytes - int(summary.unterminated)
