"""Batches into a queue: numbered, several under way, closed with totals and digest.

The server stores a producer's batches in the order of their numbers, whatever order they
come in, and none twice. So every request here may be sent again.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Final

from batchq_client.client import Client
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import CopyError, Progress
from batchq_client.copy.retry import Patience, patiently
from batchq_client.copy.source import Cut
from batchq_client.errors import (
    ClientError,
    NoSuchQueue,
    QueueClosed,
    QueueReplaced,
    SequenceGap,
    TooLarge,
)
from batchq_client.model import End, Numbering, ProducerState, Pushed, QueueStats

_OPEN_TRIES: Final = 5
"""A queue that others close and delete meanwhile is opened again so many times."""

_FULL_WAIT: Final = 30.0
"""Seconds that one push waits for room before it asks again."""


class QueueWriter:
    """Writes to one queue. ``open`` first, ``push`` each batch, then ``close``.

    Args:
        client: of the queue's server.
        queue: its name.
        options: batches in flight, patience.
        progress: counts what is stored.

    Attributes:
        producer: the id under which the batches are numbered.
        queue_id: the life that is written to.
        lines: lines pushed by this writer.
        bytes: source bytes pushed by this writer: without a newline that the server added.
        unterminated: the last line lacked its newline.
        alone: nobody else's lines were seen in this life.
    """

    def __init__(
        self, client: Client, queue: str, options: CopyOptions, progress: Progress
    ) -> None:
        self._client = client
        self._queue = queue
        self._options = options
        self._progress = progress
        self._patience = Patience(options.retry_for)
        self._epoch = 0
        self.producer = f"copy-{secrets.token_hex(8)}"
        self._slots = asyncio.Semaphore(options.in_flight)
        self._pushes: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._telling: asyncio.Future[None] | None = None
        self._seq = 0
        self._stored = 0  # all numbers below this one are stored
        self._done: set[int] = set()  # numbers above it that are
        self._moved = asyncio.Condition()
        self._base = (0, 0)  # lines and bytes that the life had before
        self._mixed = False  # others' lines stand between this writer's
        self.queue_id: str | None = None
        self.lines = 0
        self.bytes = 0
        self.unterminated = False
        self.alone = True

    async def open(self) -> None:
        """Makes sure that the queue can be written to, with an empty batch.

        A lost answer to it does no harm; the first answer's life is the one written to. A
        drained closed queue of this name is deleted first.

        Raises:
            CopyError: the queue is closed and holds lines.
            ClientError: the server can't be reached, or refuses.
        """
        for _ in range(_OPEN_TRIES):
            try:
                pushed = await self._claim()
            except QueueClosed:
                await self._clear()
                continue
            self.queue_id = pushed.queue_id
            if not pushed.duplicate:
                self._base = (pushed.offset, pushed.position)
                self.alone = self._base == (0, 0)
            self._seq = self._stored = 1
            return
        raise CopyError(f"queue {self._queue!r} is closed again and again by somebody else")

    async def _claim(self) -> Pushed:
        """Stores the empty batch with which an epoch begins."""
        return await patiently(
            self._patience,
            lambda: self._client.push(
                self._queue, b"", numbering=self._number(0), queue_id=self.queue_id
            ),
        )

    async def stats(self) -> QueueStats | None:
        """The queue as it is, or None where there is none."""
        try:
            return await patiently(
                self._patience, lambda: self._client.queue(self._queue, queue_id=self.queue_id)
            )
        except (NoSuchQueue, QueueReplaced):
            return None

    async def resume(self, producer: str, queue_id: str | None) -> QueueStats | None:
        """Goes on as an earlier writer, whose batches that are still under way are fenced off.

        ``lines`` and ``bytes`` are then what the queue has of it, with a newline that was
        added to its last line.

        Args:
            producer: its id.
            queue_id: the life that it wrote to, or None where it did not come to know it.

        Returns:
            The queue; None where it has nothing of that writer, which then never wrote.

        Raises:
            CopyError: the queue that it wrote to is gone.
            ClientError: the server can't be reached, or refuses.
        """
        self.producer, self.queue_id = producer, queue_id
        state = await self._state()
        stats = await self.stats()
        if state is None or stats is None:
            if queue_id is not None:
                raise CopyError(
                    f"queue {self._queue!r} is not the one any more that the copy wrote to: it "
                    "was deleted, or its server lost it"
                )
            return None
        self.queue_id = stats.queue_id
        if not stats.closed:
            self._epoch = state.epoch + 1
            await self._claim()
            # Only now is it certain that no earlier batch is added any more.
            state, stats = await self._state(), await self.stats()
            if state is None or stats is None:
                raise CopyError(f"queue {self._queue!r} was deleted meanwhile")
        self.lines, self.bytes = state.lines, state.bytes
        self._base = (stats.lines - state.lines, stats.bytes - state.bytes)
        self.alone = self._base == (0, 0)
        self._seq = self._stored = 1
        return stats

    def had(self, stats: QueueStats) -> None:
        """Takes a closed queue for this writer's work: it has exactly the source's bytes."""
        self.queue_id, self.unterminated = stats.queue_id, stats.unterminated
        self.lines, self.bytes = stats.lines, stats.bytes - int(stats.unterminated)

    async def _state(self) -> ProducerState | None:
        """What the queue has of this writer."""
        try:
            return await patiently(
                self._patience,
                lambda: self._client.producer(self._queue, self.producer, queue_id=self.queue_id),
            )
        except (NoSuchQueue, QueueReplaced):
            return None

    async def _clear(self) -> None:
        """Deletes a closed queue that holds nothing."""
        stats = await self.stats()
        if stats is None:
            return
        if not stats.closed:
            return
        if not stats.drained:
            held = stats.ready_lines + stats.leased_lines
            raise CopyError(
                f"queue {self._queue!r} is closed and still holds {held} lines: read them first, "
                "delete it, or write to another queue"
            )
        with suppress(NoSuchQueue, QueueReplaced):
            await patiently(
                self._patience, lambda: self._client.delete(self._queue, queue_id=stats.queue_id)
            )

    async def push(self, cut: Cut) -> None:
        """Sends a batch; returns when there is room for another one in flight.

        Raises:
            CopyError: a batch failed, this one or an earlier one.
            ClientError: the same, as the server said it.
        """
        await self._slots.acquire()
        self._check()
        seq, self._seq = self._seq, self._seq + 1
        first_line = self.lines + 1
        expected = (self._base[0] + self.lines, self._base[1] + self.bytes)
        self.lines += cut.lines
        self.bytes += len(cut.data)
        self.unterminated = cut.unterminated
        task = asyncio.create_task(self._deliver(seq, cut, first_line, expected))
        self._pushes.add(task)
        task.add_done_callback(self._delivered)

    @property
    def sent(self) -> int:
        """The number that the next batch will have."""
        return self._seq

    @property
    def stored(self) -> int:
        """All batches with lower numbers are stored."""
        return self._stored

    async def until_stored(self, below: int) -> None:
        """Waits until all batches with lower numbers are stored. Raises as ``push``."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._stored >= below or self._failure is not None)
        self._check()

    async def flush(self) -> None:
        """Waits until all that was pushed is stored. Raises as ``push``."""
        while self._pushes and self._failure is None:
            await asyncio.wait(self._pushes, return_when=asyncio.FIRST_COMPLETED)
        self._check()

    async def close(self, digest: str | None, *, unterminated: bool) -> End:
        """Waits until all is stored, then closes the queue. Raises as ``push``.

        Args:
            digest: over the exact bytes; it is not told where others wrote too.
            unterminated: the source's last line has no newline.
        """
        await self.flush()
        stored = self.bytes + int(self.unterminated)
        lines = None if self._mixed else self._base[0] + self.lines
        total = None if self._mixed else self._base[1] + stored
        if not self.alone:
            self._progress.warnings.append(
                f"queue {self._queue!r} has lines of other writers: it is closed without a digest"
            )
        end = await patiently(
            self._patience,
            lambda: self._client.close(
                self._queue,
                lines=lines,
                total_bytes=total,
                digest=digest if self.alone else None,
                unterminated=unterminated,
                numbering=self._number(self._seq),
                queue_id=self.queue_id,
            ),
        )
        has = end.producer
        if has is not None and (has.lines, has.bytes) != (self.lines, stored):
            raise CopyError(
                f"the server counts {has.lines} lines and {has.bytes} bytes of this writer, "
                f"which sent {self.lines} and {stored}"
            )
        return end

    async def abandon(self) -> None:
        """Stops what is under way. The queue stays open."""
        for task in self._pushes:
            task.cancel()
        if self._pushes:
            await asyncio.wait(self._pushes)
        if self._telling is not None:
            await self._telling

    def _number(self, seq: int) -> Numbering:
        return Numbering(self.producer, self._epoch, seq)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._pushes.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None and self._failure is None:
            self._failure = task.exception()
            self._telling = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _deliver(
        self, seq: int, cut: Cut, first_line: int, expected: tuple[int, int]
    ) -> None:
        while True:
            stored = self._stored
            try:
                pushed = await self._client.push(
                    self._queue,
                    cut.data,
                    numbering=self._number(seq),
                    queue_id=self.queue_id,
                    wait=_FULL_WAIT,
                )
            except SequenceGap as error:
                await self._turn(seq, stored, error)
            except TooLarge as error:
                raise CopyError(_too_large(cut, first_line, error)) from error
            except ClientError as error:
                await self._patience.bear(error, repeatable=True)
            else:
                break
        self._patience.restored()
        self._note(pushed, expected)
        self._progress.lines += cut.lines
        self._progress.bytes += len(cut.data)
        await self._advance(seq)

    def _note(self, pushed: Pushed, expected: tuple[int, int]) -> None:
        """Notices lines of other writers between this one's."""
        if not pushed.duplicate and (pushed.offset, pushed.position) != expected:
            self.alone = False
            self._mixed = True

    async def _advance(self, seq: int) -> None:
        self._done.add(seq)
        while self._stored in self._done:
            self._done.remove(self._stored)
            self._stored += 1
        await self._tell()

    async def _turn(self, seq: int, stored: int, error: SequenceGap) -> None:
        """Waits until all batches before this one are stored, to send it again then.

        Args:
            seq: this batch's number.
            stored: all below this number were stored when the batch was sent.
            error: the server's answer.

        Raises:
            CopyError: the server waits for a batch that it had said to have stored.
        """
        if error.expected is not None and error.expected < stored:
            raise CopyError(
                f"queue {self._queue!r} lost batches that it had stored; it stays open"
            ) from error
        if stored >= seq:
            # It was its turn: whatever the server waits for, asking at once won't help.
            await self._patience.bear(error, repeatable=True, passing=True)
        async with self._moved:
            await self._moved.wait_for(lambda: self._stored >= seq)


def _too_large(cut: Cut, first_line: int, error: TooLarge) -> str:
    if cut.lines == 1:
        size = len(cut.data) - (0 if cut.unterminated else 1)
        return f"line {first_line} has {size} bytes: {error.detail}"
    return f"a batch of {len(cut.data)} bytes is refused: {error.detail} (see --batch-bytes)"
