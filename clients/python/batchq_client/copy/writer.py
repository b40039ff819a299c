"""Batches into a queue: numbered, several under way, closed with totals and digest.

The server stores a producer's batches in the order of their numbers, whatever order they
come in, and none twice. So every request here may be sent again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from batchq_client.client import Client
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import CopyError, Progress, QueueGone
from batchq_client.copy.retry import Patience, patiently
from batchq_client.copy.stored import Stored
from batchq_client.copy.target import Target
from batchq_client.errors import (
    ClientError,
    QueueClosed,
    QueueReplaced,
    SequenceGap,
    TooLarge,
    TotalsDiffer,
)
from batchq_client.lines import Cut
from batchq_client.model import End, Numbering, ProducerState, Pushed, QueueStats

_T = TypeVar("_T")

_OPEN_TRIES: Final = 5
"""A queue that others close and delete meanwhile is opened again so many times."""

_FULL_WAIT: Final = 30.0
"""Seconds that one push waits for room, at the most, before it asks again."""

_DID: Final = "wrote to"
"""What a writer did with its queue, in words."""


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
        self._full_wait = min(_FULL_WAIT, options.retry_for)
        self._target = Target(client, queue, self._patience)
        self._epoch = 0
        self.producer = f"copy-{secrets.token_hex(8)}"
        self._slots = asyncio.Semaphore(options.in_flight)
        self._pushes: set[asyncio.Task[None]] = set()
        self._seq = 0
        self._stored = Stored()
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
                await self._target.clear(self.queue_id)
                continue
            self.queue_id = pushed.queue_id
            if not pushed.duplicate:
                self._base = (pushed.offset, pushed.position)
                self.alone = self._base == (0, 0)
            self._seq = self._stored.below = 1
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
        return await self._target.stats(self.queue_id)

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
        found = await self._target.found(producer, self.queue_id)
        if found is None:
            if queue_id is not None:
                raise QueueGone(self._queue, _DID)
            return None
        stats, state = found
        self.queue_id = stats.queue_id
        if not stats.closed:
            self._epoch = state.epoch + 1
            # Its own close may have been under way, and come first.
            with suppress(QueueClosed, QueueReplaced):
                await self._claim()
            # Only now is it certain that no earlier batch is added any more.
            found = await self._target.found(producer, self.queue_id)
            if found is None:
                raise QueueGone(self._queue, _DID)
            stats, state = found
        self.lines, self.bytes = state.lines, state.bytes
        self._base = (stats.lines - state.lines, stats.bytes - state.bytes)
        self.alone = self._base == (0, 0)
        self._seq = self._stored.below = 1
        return stats

    def had(self, stats: QueueStats) -> None:
        """Takes a closed queue for this writer's work: it has exactly the source's bytes."""
        self.queue_id, self.unterminated = stats.queue_id, stats.unterminated
        self.lines, self.bytes = stats.lines, stats.bytes - int(stats.unterminated)

    async def push(self, cut: Cut) -> None:
        """Sends a batch; returns when there is room for another one in flight.

        Raises:
            CopyError: a batch failed, this one or an earlier one.
            ClientError: the same, as the server said it.
        """
        await self._slots.acquire()
        self._stored.check()
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
        return self._stored.below

    async def until_stored(self, below: int) -> None:
        """Waits until all batches with lower numbers are stored. Raises as ``push``."""
        await self._stored.until(below)

    async def flush(self) -> None:
        """Waits until all that was pushed is stored. Raises as ``push``."""
        await self._stored.until(self._seq)

    async def close(self, digest: str | None, *, unterminated: bool) -> End:
        """Closes the queue behind all that was pushed. Raises as ``push``.

        The close is sent at once, as the batch that comes next: the server keeps it until it
        has those before it. So readers hear of the end together with the last lines, and not
        when the writer has heard of them.

        Args:
            digest: over the exact bytes; it is not told where others wrote too.
            unterminated: the source's last line has no newline; that is not told either where
                others' lines may stand behind it.
        """
        closing = asyncio.create_task(self._close(digest, unterminated=unterminated))
        stored = asyncio.create_task(self.flush())
        try:
            # Whichever fails first tells why.
            await asyncio.wait((closing, stored), return_when=asyncio.FIRST_EXCEPTION)
            self._stored.check()
            end = await closing
        finally:
            await _end(closing, stored)
        self._compare(end.producer)
        if not self.alone:
            self._warn_of_others(newline=self._mixed and unterminated)
        return end

    async def _close(self, digest: str | None, *, unterminated: bool) -> End:
        # Totals that are the queue's prove that there are no lines but those that they count.
        with suppress(TotalsDiffer):
            if not self._mixed:
                return await self._send_close(
                    lines=self._base[0] + self.lines,
                    total_bytes=self._base[1] + self._own_bytes,
                    digest=digest if self.alone else None,
                    unterminated=unterminated,
                )
        self.alone, self._mixed = False, True
        await self.flush()
        self._compare(await self._target.state(self.producer, self.queue_id))
        return await self._send_close()

    async def _send_close(self, **told: Any) -> End:
        seq = self._seq
        return await self._in_turn(
            seq,
            lambda: self._client.close(
                self._queue, numbering=self._number(seq), queue_id=self.queue_id, **told
            ),
        )

    @property
    def _own_bytes(self) -> int:
        """Payload bytes that the queue should have of this writer."""
        return self.bytes + int(self.unterminated)

    def _compare(self, has: ProducerState | None) -> None:
        """Compares what the queue has of this writer with what it sent.

        Raises:
            CopyError: they differ.
        """
        if has is not None and (has.lines, has.bytes) != (self.lines, self._own_bytes):
            raise CopyError(
                f"the server counts {has.lines} lines and {has.bytes} bytes of this writer, "
                f"which sent {self.lines} and {self._own_bytes}"
            )

    def _warn_of_others(self, *, newline: bool) -> None:
        text = f"queue {self._queue!r} has lines of other writers: it is closed without a digest"
        if newline:
            text += ", and with the newline that the last line of the source lacks"
        self._progress.warnings.append(text)

    async def abandon(self) -> None:
        """Stops what is under way. The queue stays open."""
        for task in self._pushes:
            task.cancel()
        if self._pushes:
            await asyncio.wait(self._pushes)

    def _number(self, seq: int) -> Numbering:
        return Numbering(self.producer, self._epoch, seq)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._pushes.discard(task)
        self._slots.release()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._stored.fail(error)

    async def _deliver(
        self, seq: int, cut: Cut, first_line: int, expected: tuple[int, int]
    ) -> None:
        try:
            pushed = await self._in_turn(
                seq,
                lambda: self._client.push(
                    self._queue,
                    cut.data,
                    numbering=self._number(seq),
                    queue_id=self.queue_id,
                    wait=self._full_wait,
                ),
            )
        except TooLarge as error:
            raise CopyError(_too_large(cut, first_line, error)) from error
        self._note(pushed, expected)
        self._progress.lines += cut.lines
        self._progress.bytes += len(cut.data)
        self._stored.add(seq)

    async def _in_turn(self, seq: int, call: Callable[[], Awaitable[_T]]) -> _T:
        """Makes a numbered request, until it is answered.

        Raises:
            CopyError: it has gone on for too long, or the queue has not what it should.
            ClientError: the server refuses.
        """
        loop = asyncio.get_running_loop()
        while True:
            stored = self._stored.below
            # Until then it may be waiting for its turn, or for room.
            due = loop.time() + self._full_wait
            try:
                answer = await self._patience.within(call)
            except SequenceGap as error:
                await self._turn(seq, stored, error)
            except QueueReplaced as error:
                raise QueueGone(self._queue, _DID) from error
            except ClientError as error:
                await self._patience.bear(error, repeatable=True, due=due)
            else:
                self._patience.restored()
                return answer

    def _note(self, pushed: Pushed, expected: tuple[int, int]) -> None:
        """Notices lines of other writers between this one's."""
        if not pushed.duplicate and (pushed.offset, pushed.position) != expected:
            self.alone = False
            self._mixed = True

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
        await self._stored.until(seq)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Ends tasks that are of no use any more; what they say is not asked for."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _too_large(cut: Cut, first_line: int, error: TooLarge) -> str:
    if cut.lines == 1:
        size = len(cut.data) - (0 if cut.unterminated else 1)
        return f"line {first_line} has {size} bytes: {error.detail}"
    return f"a batch of {len(cut.data)} bytes is refused: {error.detail} (see --batch-bytes)"
