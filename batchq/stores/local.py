"""What the stores of one process share: the broker's rules on a running event loop.

The broker decides, ``_commit`` makes durable, then the broker applies. A store that
derives from this says how to commit, and opens and closes what it keeps lines in.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from batchq.broker import Broker, Change, Held, Outcome, Ticket
from batchq.errors import BatchqError, LeaseLost, QueueReplaced, StoreUnavailable
from batchq.model import (
    CloseRequest,
    End,
    Limits,
    Nothing,
    ProducerState,
    PullAnswer,
    Pulled,
    PullRequest,
    Pushed,
    PushRequest,
    QueueStats,
)

_T = TypeVar("_T")


class _Call(Ticket):
    """A call that waits for its outcome; it has a future only if it really waits."""

    __slots__ = ("future", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.future: asyncio.Future[None] | None = None

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


class LocalStore(ABC):
    """Queues whose rules run in this process. See ``batchq.stores.base.Store``.

    Args:
        limits: how much may be held.
        clock: seconds, for deadlines; the event loop's clock unless given.
        new_id: makes random ids; 128 random bits unless given.
        memory: payload bytes that may stay in memory, where they are kept elsewhere too.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] | None = None,
        new_id: Callable[[], str] | None = None,
        memory: int | None = None,
    ) -> None:
        limits = limits or Limits()
        self._broker = Broker(limits, new_id or _random_id, memory)
        self._queue_bytes = limits.queue_bytes
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0

    @abstractmethod
    def _commit(self, changes: list[Change]) -> None:
        """Makes changes durable, in order, and sees to ``self._applied`` for each, then."""

    @property
    def queue_bytes(self) -> int:
        """Payload bytes that one queue may hold."""
        return self._queue_bytes

    # Verbs

    def drain(self) -> None:
        """Prepares the end: see the contract."""
        self._broker.drain()
        self._flush()

    def failure(self) -> str | None:
        """Tells why the store can't serve, or None."""
        return None

    async def push(self, request: PushRequest) -> Pushed:
        """Appends a batch: see the contract."""
        call = _Call()
        self._broker.submit(self._now(), call, request)
        return _expect(await self._outcome(call, request.queue), Pushed)

    async def close(self, request: CloseRequest) -> End:
        """Closes a queue: see the contract."""
        call = _Call()
        self._broker.submit(self._now(), call, request)
        return _expect(await self._outcome(call, request.queue), End)

    async def pull(self, request: PullRequest) -> PullAnswer:
        """Takes a batch: see the contract."""
        lost = await self._ack_first(request) if request.ack else ()
        call = _Call()
        self._broker.pull(self._now(), call, request)
        outcome = await self._outcome(call, request.queue)
        if isinstance(outcome, Held):
            if outcome.pulled.lease is None:
                await self._hand_over(outcome)
            outcome = outcome.pulled
        if not isinstance(outcome, Pulled | Nothing | End):
            raise TypeError(f"a pull was answered with {type(outcome).__name__}")
        return replace(outcome, lost=lost) if lost else outcome

    async def _ack_first(self, request: PullRequest) -> tuple[str, ...]:
        """Acknowledges what a pull brings along; gives the ids that were unknown."""
        try:
            await self.ack(request.queue, request.ack, request.queue_id)
        except LeaseLost as error:
            return error.lost
        except QueueReplaced:
            # What the pull itself is told of that life says more.
            return request.ack
        return ()

    async def ack(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Is done with leased lines: see the contract."""
        call = _Call()
        self._broker.ack(call, queue, leases, queue_id)
        return _expect(await self._outcome(call, queue), str)

    async def release(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Puts leased lines back: see the contract."""
        call = _Call()
        self._broker.release(self._now(), call, queue, leases, queue_id)
        return _expect(await self._outcome(call, queue), str)

    async def extend(
        self, queue: str, leases: Sequence[str], seconds: float, queue_id: str | None
    ) -> str:
        """Sets when leases end: see the contract."""
        call = _Call()
        self._broker.extend(self._now(), call, queue, leases, seconds, queue_id)
        return _expect(await self._outcome(call, queue), str)

    async def delete(self, queue: str, queue_id: str | None) -> str:
        """Ends a queue's life: see the contract."""
        call = _Call()
        self._broker.delete(call, queue, queue_id)
        return _expect(await self._outcome(call, queue), str)

    async def queues(self) -> list[QueueStats]:
        """All queues, by name."""
        return self._broker.queues()

    async def stats(self, queue: str, queue_id: str | None) -> QueueStats:
        """One queue: see the contract."""
        return self._broker.stats(queue, queue_id)

    async def producer(
        self, queue: str, producer: str, queue_id: str | None
    ) -> ProducerState | None:
        """What a queue has of a producer: see the contract."""
        return self._broker.producer(queue, producer, queue_id)

    # The broker on the event loop

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    async def _outcome(self, call: _Call, queue: str) -> Outcome:
        """Waits for a call's outcome.

        A cancelled call is forgotten; lines that it was just given go back.
        """
        self._flush()
        if call.outcome is None:
            call.future = asyncio.get_running_loop().create_future()
            try:
                await call.future
            except asyncio.CancelledError:
                self._forget(call, queue)
                raise
        if call.outcome is None:
            raise StoreUnavailable("the store gave no answer")
        if isinstance(call.outcome, BatchqError):
            raise call.outcome
        return call.outcome

    async def _hand_over(self, held: Held) -> None:
        """Returns when lines are gone, which their reader then has.

        A cancellation that comes first, also as late as when they are gone already, puts
        them back: it goes on when they are ready again, or else a disk is full.
        """
        gone = _Call()
        self._broker.finish(gone, held)
        try:
            await self._outcome(gone, held.queue)
        except asyncio.CancelledError:
            back = _Call()
            self._broker.recall(back, held)
            self._flush()
            await self._insist(back)
            raise
        self._broker.taken(self._now(), held)
        self._flush()

    async def _insist(self, call: _Call) -> None:
        """Waits for an outcome, whatever cancellation comes meanwhile."""
        while call.outcome is None:
            call.future = asyncio.get_running_loop().create_future()
            with contextlib.suppress(asyncio.CancelledError):
                await call.future

    def _forget(self, call: _Call, queue: str) -> None:
        now, outcome = self._now(), call.outcome
        if outcome is None:
            self._broker.cancel(now, queue, call)
        elif isinstance(outcome, Held):
            self._broker.give_back(now, outcome)
        self._flush()

    def _applied(self, change: Change) -> None:
        self._broker.applied(self._now(), change)

    def _flush(self) -> None:
        """Commits what was decided, hands out the answers, arms the timer."""
        while changes := self._broker.take_changes():
            self._commit(changes)
        for ticket, outcome in self._broker.take_answers():
            if isinstance(ticket, _Call):
                ticket.settle(outcome)
        self._arm()

    def _arm(self) -> None:
        """Sees to it that the broker's next deadline is kept."""
        deadline = self._broker.next_deadline()
        if deadline is None:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + deadline - self._now()
        if self._timer is not None:
            # Not the handle's own time: uvloop's has none where the timer is due at once.
            if self._armed <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._tick)
        self._armed = when

    def _tick(self) -> None:
        self._timer = None
        self._broker.tick(self._now())
        self._flush()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _random_id() -> str:
    return secrets.token_hex(16)


def _expect(outcome: Outcome, kind: type[_T]) -> _T:
    if not isinstance(outcome, kind):
        raise TypeError(f"a call for {kind.__name__} was answered with {type(outcome).__name__}")
    return outcome
