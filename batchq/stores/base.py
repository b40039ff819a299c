"""The contract of a store: a handful of verbs, whole batches at a time.

Every verb is atomic: it happens wholly or not at all, and what it did is visible
to others only once it is as durable as ``promise`` says. Verbs that wait may be
cancelled. A pull that is cancelled before it returned has taken nothing, and counts as no
delivery: where its lines were being made gone, the cancellation goes on when they are
back in their place, as durably. A push that is cancelled may or may not be stored (which
is what numbering is for).
All errors are ``batchq.errors.BatchqError``.

One suite of tests runs over every store (``tests/contract``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from batchq.model import (
    CloseRequest,
    End,
    ProducerState,
    Promise,
    PullAnswer,
    PullRequest,
    Pushed,
    PushRequest,
    QueueStats,
)


class Store(Protocol):
    """Named queues of lines."""

    @property
    def promise(self) -> Promise:
        """What a push that returned survives."""

    @property
    def queue_bytes(self) -> int:
        """Payload bytes that one queue may hold: a larger batch is never taken."""

    async def start(self) -> None:
        """Opens the store, on the running event loop.

        Raises:
            StoreUnavailable: it can't be opened; the detail says what can be done.
        """

    async def stop(self) -> None:
        """Closes the store; verbs that still wait get ``ShuttingDown``. May be called twice."""

    def drain(self) -> None:
        """Prepares the end: waiting pulls return ``Nothing`` at once and so do later ones.

        Parked pushes, those that wait for room, and later ones get ``ShuttingDown``;
        those on their way to the disk are finished.
        """

    def failure(self) -> str | None:
        """Why the store can't serve, in a sentence, or None while it can (readiness)."""

    async def push(self, request: PushRequest) -> Pushed:
        """Appends a batch; creates the queue.

        Checked in this order: queue id, epoch, sequence, closed, full.

        Raises:
            QueueReplaced: the life that the request speaks to is over (and the batch is
                not known to be a duplicate of it).
            StaleEpoch: a newer epoch of this producer is in force.
            SequenceGap: ahead of its turn, and beyond what may be parked, or the gap
                before it did not fill in ``park_seconds``.
            QueueClosed: the queue is closed.
            QueueFull: no room, also after ``request.wait`` seconds.
            TooLarge: the batch alone is above what one queue may hold.
            TooManyQueues, TooManyProducers: a limit is reached.
            ShuttingDown, StoreUnavailable, DiskFull: not now.
        """

    async def pull(self, request: PullRequest) -> PullAnswer:
        """Takes a batch, or waits for one; a queue that does not exist is waited for too.

        A batch is one run of consecutive offsets that starts at the lowest ready line.
        It returns at the first of: ``min`` lines ready (then it takes on up to ``max``
        and ``max_bytes``); ``max_bytes`` ready; the run can't grow (what follows is
        leased or was taken); queue closed; queue full; wait over. Several waiting pulls
        are served in the order they came, each when its own condition holds.

        Returns:
            ``Pulled`` with lines; ``Nothing`` when the wait is over; ``End`` when the
            queue is closed, no line is ready and no lease is out.

        Raises:
            TooManyLeases: lines could be given, but as many leases are out as may be.
            NotAcceptable: ``utf8`` was asked for and the first line is not UTF-8.
            QueueReplaced: the life that the request speaks to is over, and was not drained.
            StoreUnavailable: not now.
        """

    async def ack(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Is done with the lines of these leases; all of those that are known, in any case.

        Returns:
            The queue's id.

        Raises:
            LeaseLost: some are unknown (done before, or run out); it names them.
            QueueReplaced: the life that the request speaks to is over.
        """

    async def release(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Puts the lines of these leases back in their old place. Otherwise as ``ack``."""

    async def extend(
        self, queue: str, leases: Sequence[str], seconds: float, queue_id: str | None
    ) -> str:
        """Lets these leases end ``seconds`` from now. Otherwise as ``ack``."""

    async def close(self, request: CloseRequest) -> End:
        """Closes the queue; creates it if need be. Closing a closed queue changes nothing.

        Raises:
            TotalsDiffer: the request's totals are not the queue's; it stays open.
            StaleEpoch, SequenceGap, QueueReplaced: as for a push.
        """

    async def delete(self, queue: str, queue_id: str | None) -> str:
        """Ends the queue's life with all it holds.

        Waiting pulls go on waiting for the next life, unless they pinned this one.

        Returns:
            The id of the life that ended.

        Raises:
            NoSuchQueue: there is none.
            QueueReplaced: the life that the request speaks to is over.
        """

    async def queues(self) -> list[QueueStats]:
        """All queues, by name."""

    async def stats(self, queue: str, queue_id: str | None) -> QueueStats:
        """One queue.

        Raises:
            NoSuchQueue: there is none.
            QueueReplaced: the life that the request speaks to is over.
        """

    async def producer(
        self, queue: str, producer: str, queue_id: str | None
    ) -> ProducerState | None:
        """What the queue has of one producer, or None. Raises as ``stats``."""
