"""What a writer asks of its queue beside writing to it. All of it may be asked again."""

from __future__ import annotations

from contextlib import suppress

from batchq_client.client import Client
from batchq_client.copy.outcome import CopyError
from batchq_client.copy.retry import Patience, patiently
from batchq_client.errors import NoSuchQueue, QueueReplaced
from batchq_client.model import ProducerState, QueueStats


class Target:
    """A queue that is to be written to.

    Its calls raise ``CopyError`` where the server can't be reached for too long, and
    ``ClientError`` where it refuses.

    Args:
        client: of the queue's server.
        queue: its name.
        patience: with faults.
    """

    def __init__(self, client: Client, queue: str, patience: Patience) -> None:
        self._client = client
        self._queue = queue
        self._patience = patience

    async def stats(self, queue_id: str | None) -> QueueStats | None:
        """The queue as it is; None where there is none, or not that life of it."""
        try:
            return await patiently(
                self._patience, lambda: self._client.queue(self._queue, queue_id=queue_id)
            )
        except (NoSuchQueue, QueueReplaced):
            return None

    async def state(self, producer: str, queue_id: str | None) -> ProducerState | None:
        """What a life of the queue has of a writer."""
        try:
            return await patiently(
                self._patience,
                lambda: self._client.producer(self._queue, producer, queue_id=queue_id),
            )
        except (NoSuchQueue, QueueReplaced):
            return None

    async def found(
        self, producer: str, queue_id: str | None
    ) -> tuple[QueueStats, ProducerState] | None:
        """The queue, and what it has of a writer; None where one of them is not there.

        In this order: of a queue that was closed by then, it has all that it ever will.
        """
        stats = await self.stats(queue_id)
        state = None if stats is None else await self.state(producer, stats.queue_id)
        return None if stats is None or state is None else (stats, state)

    async def clear(self, queue_id: str | None) -> None:
        """Deletes the queue if it is closed and drained.

        Raises:
            CopyError: it is closed, and holds lines.
        """
        stats = await self.stats(queue_id)
        if stats is None or not stats.closed:
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
