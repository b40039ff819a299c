"""The writers' rules: pushes, numbering, room, close.

Numbering follows the Durable Streams protocol's producers: an epoch fences off the
ones below it, and a sequence number is stored once. What is decided here is checked
in the order queue id, epoch, sequence, closed, full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from batchq.broker.changes import Append, Close
from batchq.broker.hub import Hub, replaced
from batchq.broker.log import Point, Span
from batchq.broker.parking import Parking, expected_seq
from batchq.broker.state import Closing, Life, Parked, Producer, Slot, Ticket
from batchq.errors import (
    BatchqError,
    QueueClosed,
    QueueFull,
    QueueReplaced,
    SequenceGap,
    ShuttingDown,
    StaleEpoch,
    TooLarge,
    TooManyProducers,
    TotalsDiffer,
)
from batchq.model import CloseRequest, Numbering, ProducerState, Pushed, PushRequest

_Request = PushRequest | CloseRequest


class Writers:
    """Decides pushes and closes, and applies them once they are committed.

    Args:
        hub: the shared state.
        on_full: told of a slot whose queue turned out to be full.
    """

    def __init__(self, hub: Hub, on_full: Callable[[Slot, float], None]) -> None:
        self._hub = hub
        self._parking = Parking(hub)
        self._on_full = on_full

    # Decisions

    def submit(self, now: float, ticket: Ticket, request: _Request) -> None:
        """Takes a push or a close; answers it, stages it, or lets it wait."""
        slot = self._hub.slot(request.queue)
        wait = request.wait if isinstance(request, PushRequest) else 0.0
        self._try(now, slot, Parked(request, [ticket], deadline=now + wait))
        self._hub.tidy(slot)

    def _try(self, now: float, slot: Slot, call: Parked, *, first: bool = False) -> None:
        """Decides a call, and the parked ones that are next behind it.

        ``first``: the call is the first of those that wait for room.
        """
        while self._attempt(now, slot, call, first=first):
            numbering = call.request.numbering
            if numbering is None:
                return
            for rival in call.rivals:
                self._attempt(now, slot, rival, first=False)
            key = (numbering.producer, numbering.epoch, numbering.seq + 1)
            if key not in slot.parked:
                return
            call = self._parking.pop(slot, key)
            first = False

    def _attempt(self, now: float, slot: Slot, call: Parked, *, first: bool) -> bool:
        """Decides one call, or answers it with why not; tells whether it was staged."""
        try:
            if self._hub.draining:
                raise ShuttingDown("the server is shutting down; try again")
            return self._decide(now, slot, call, first=first)
        except BatchqError as error:
            self._hub.answer_all(call.tickets, error)
            return False

    def _decide(self, now: float, slot: Slot, call: Parked, *, first: bool) -> bool:
        """Decides a call; tells whether it was staged."""
        request = call.request
        life, numbering = slot.life, request.numbering
        if request.queue_id is not None and (life is None or life.id != request.queue_id):
            self._answer_over(call)
            return False
        if numbering is not None and self._known(call, life, numbering):
            return False
        if life is not None and life.closing is not None:
            self._refuse_closed(call, life)
            return False
        if numbering is not None:
            ahead = numbering.seq - expected_seq(life, numbering)
            if ahead > 0:
                self._parking.park(now, slot, call, numbering)
                return False
        if isinstance(request, CloseRequest):
            self._stage_close(slot, request, call.tickets)
            return True
        if request.batch.data and not self._has_room(now, slot, call, request, first=first):
            return False
        self._stage_append(slot, request, call.tickets)
        return True

    def _answer_over(self, call: Parked) -> None:
        """Answers a call to a life that is not the current one."""
        request = call.request
        hub = self._hub
        record = hub.record(request.queue, request.queue_id)
        if record is None or request.numbering is None or not record.knows(request.numbering):
            slot = hub.slots[request.queue]
            raise replaced(request.queue, request.queue_id or "", slot.life)
        state = record.producers[request.numbering.producer]
        if isinstance(request, PushRequest):
            hub.answer_all(call.tickets, Pushed(record.end.queue_id, True, 0, 0, 0, state))
        elif record.closed:
            hub.answer_all(call.tickets, dataclasses.replace(record.end, producer=state))
        else:
            raise replaced(request.queue, request.queue_id or "", None)

    def _known(self, call: Parked, life: Life | None, numbering: Numbering) -> bool:
        """Answers a call that is a duplicate; tells whether it was one.

        Raises:
            StaleEpoch: the producer has a newer epoch.
        """
        producer = life.producers.get(numbering.producer) if life is not None else None
        if life is None or producer is None or producer.staged is None:
            return False
        staged = producer.staged
        if numbering.epoch < staged.epoch:
            raise _stale(life, numbering, staged.epoch)
        if numbering.epoch > staged.epoch or numbering.seq > staged.seq:
            return False
        pushed = isinstance(call.request, PushRequest)
        pending = producer.pending.get((numbering.epoch, numbering.seq))
        if pending is not None and isinstance(pending, Append) == pushed:
            pending.tickets.extend(call.tickets)
        elif pushed:
            state = producer.committed
            self._hub.answer_all(call.tickets, Pushed(life.id, True, 0, 0, 0, state))
        elif life.closed is not None:
            self._hub.answer_all(call.tickets, life.end(producer.committed))
        else:
            raise SequenceGap(
                f"batch {numbering.seq} of producer {numbering.producer!r} is stored and was "
                "not a close; close with the next sequence number",
                expected=staged.seq + 1,
                received=numbering.seq,
                queue_id=life.id,
            )
        return True

    def _refuse_closed(self, call: Parked, life: Life) -> None:
        if isinstance(call.request, PushRequest):
            raise _closed(life)
        if life.closed is not None:
            self._hub.answer_all(call.tickets, life.end())
        else:
            self._closing_of(life).tickets.extend(call.tickets)

    def _closing_of(self, life: Life) -> Close:
        """Finds the close that is staged and not yet committed."""
        return next(
            change
            for change in reversed(self._hub.outstanding)
            if isinstance(change, Close) and change.life is life
        )

    def _has_room(
        self, now: float, slot: Slot, call: Parked, request: PushRequest, *, first: bool
    ) -> bool:
        """Tells whether a batch fits now; if not, lets the call wait if it may.

        Raises:
            TooLarge: it never fits.
            QueueFull: it does not fit, and may not wait.
        """
        limit = self._hub.limits.queue_bytes
        size = len(request.batch.data)
        life = slot.life
        stored = life.stored if life is not None else 0
        if size > limit:
            raise TooLarge(
                f"the batch has {size} bytes, and a queue holds at most {limit}; "
                "push smaller batches, or raise --max-queue-bytes"
            )
        if stored + size <= limit and (first or not slot.for_room):
            return True
        if life is not None:
            life.refused = True
            self._on_full(slot, now)
        if call.deadline <= now or not self._parking.has_place_for_room(slot, size):
            raise QueueFull(
                f"queue {slot.name!r} holds {stored} of at most {limit} bytes; pull from it, "
                "or push with ?wait=SECONDS to wait for room",
                queue_id=life.id if life is not None else None,
            )
        self._parking.wait_for_room(slot, call, lambda at: self._no_room(at, slot, call))
        return False

    def _no_room(self, now: float, slot: Slot, call: Parked) -> None:
        """Ends the wait for room."""
        self._parking.leave_room(slot, call)
        call.deadline = now
        self._try(now, slot, call)
        self.make_room(now, slot)
        self._hub.tidy(slot)

    # Staging

    def _stage_append(self, slot: Slot, request: PushRequest, tickets: list[Ticket]) -> None:
        life, state = self._enter(slot, request, request.batch.lines, len(request.batch.data))
        numbering = request.numbering
        start = life.staged
        end = Point(start.offset + request.batch.lines, start.position + len(request.batch.data))
        life.staged = end
        life.stored += end.position - start.position
        span = Span(start, end)
        self._stage(Append(life, span, request.batch, numbering, state, tickets), numbering)

    def _stage_close(self, slot: Slot, request: CloseRequest, tickets: list[Ticket]) -> None:
        staged = slot.life.staged if slot.life is not None else Point(0, 0)
        for what, given, counted in (
            ("lines", request.lines, staged.offset),
            ("bytes", request.bytes, staged.position),
        ):
            if given is not None and given != counted:
                raise TotalsDiffer(
                    f"the close counts {given} {what}, queue {slot.name!r} has {counted}; "
                    "it stays open: find out what is missing, or close without totals",
                    queue_id=slot.life.id if slot.life is not None else None,
                )
        life, state = self._enter(slot, request, 0, 0)
        life.closing = Closing(request.digest, request.unterminated, request.numbering)
        self._stage(Close(life, life.closing, state, tickets), request.numbering)

    def _stage(self, change: Append | Close, numbering: Numbering | None) -> None:
        self._hub.stage(change)
        if numbering is not None:
            producer = change.life.producers[numbering.producer]
            producer.pending[numbering.epoch, numbering.seq] = change

    def _enter(
        self, slot: Slot, request: _Request, lines: int, size: int
    ) -> tuple[Life, ProducerState | None]:
        """Gives the life (a new one if need be) and the producer's state after this call."""
        numbering = request.numbering
        life = slot.life
        if numbering is not None and (life is None or numbering.producer not in life.producers):
            self._check_producers(life)
        if life is None:
            life = self._hub.new_life(slot)
        if numbering is None:
            return life, None
        producer = life.producers.setdefault(numbering.producer, Producer())
        before = producer.staged
        state = ProducerState(
            epoch=numbering.epoch,
            seq=numbering.seq,
            lines=lines + (before.lines if before is not None else 0),
            bytes=size + (before.bytes if before is not None else 0),
        )
        producer.staged = state
        return life, state

    def _check_producers(self, life: Life | None) -> None:
        limit = self._hub.limits.producers
        if (len(life.producers) if life is not None else 0) >= limit:
            raise TooManyProducers(
                f"the queue knows {limit} producers, as many as --max-producers allows; "
                "reuse a Producer-Id with a higher epoch",
                queue_id=life.id if life is not None else None,
            )

    # Once it is committed

    def appended(self, slot: Slot, change: Append) -> None:
        """Makes a committed batch visible to writers: answers it and those that sent it again."""
        life, state = change.life, change.producer
        self._commit_producer(slot, life, change.numbering, state)
        offset, position = change.span.start
        answer = Pushed(life.id, False, offset, position, change.batch.lines, state)
        self._hub.answer(change.tickets[0], answer)
        if len(change.tickets) > 1:
            again = Pushed(life.id, True, 0, 0, 0, state)
            self._hub.answer_all(change.tickets[1:], again)

    def closed(self, slot: Slot, change: Close) -> None:
        """Makes a committed close known to writers."""
        life = change.life
        self._commit_producer(slot, life, change.closing.numbering, change.producer)
        self._hub.answer_all(change.tickets, life.end(change.producer))
        self._end_waits(slot, _closed(life))

    def ended(self, slot: Slot, life: Life) -> None:
        """Answers those that wait for a life that was deleted."""
        error = QueueReplaced(f"queue {slot.name!r} was deleted", queue_id=life.id)
        self._end_waits(slot, error)

    def _commit_producer(
        self, slot: Slot, life: Life, numbering: Numbering | None, state: ProducerState | None
    ) -> None:
        """Commits a producer's state; a new epoch fences off what is parked of older ones."""
        if numbering is None or state is None:
            return
        producer = life.producers[numbering.producer]
        before, producer.committed = producer.committed, state
        producer.pending.pop((numbering.epoch, numbering.seq), None)
        for call in list(slot.for_room.values()):
            other = call.request.numbering
            if other is not None and other.producer == numbering.producer:
                self._settle_for_room(slot, call)
        if before is not None and before.epoch == state.epoch:
            return
        stale = [k for k in slot.parked if k[0] == numbering.producer and k[1] < numbering.epoch]
        for key in stale:
            call = self._parking.pop(slot, key)
            self._hub.answer_all(call.everyone, _stale(life, numbering, state.epoch))

    def _settle_for_room(self, slot: Slot, call: Parked) -> None:
        """Answers a call that waits for room in vain: its batch is stored, or it is fenced."""
        if self._answer_known(slot, call):
            self._parking.leave_room(slot, call)

    def make_room(self, now: float, slot: Slot) -> None:
        """Goes on with pushes that wait for room, in the order they came, while they fit."""
        limit = self._hub.limits.queue_bytes
        while slot.for_room:
            call = next(iter(slot.for_room.values()))
            stored = slot.life.stored if slot.life is not None else 0
            if stored + call.size > limit:
                return
            self._parking.leave_room(slot, call)
            self._try(now, slot, call, first=True)

    def cancel(self, now: float, slot: Slot, ticket: Ticket) -> None:
        """Forgets a call that waits here; a batch stays parked while another call wants it."""
        for key, call in slot.parked.items():
            if ticket in call.everyone:
                for part in (call, *call.rivals):
                    if ticket in part.tickets:
                        part.tickets.remove(ticket)
                if not call.everyone:
                    self._parking.pop(slot, key)
                return
        for call in slot.for_room.values():
            if ticket in call.tickets:
                call.tickets.remove(ticket)
                if not call.tickets:
                    self._parking.leave_room(slot, call)
                    self.make_room(now, slot)
                return

    def drain(self, slot: Slot) -> None:
        """Answers all that wait: the server is about to end."""
        self._end_waits(slot, ShuttingDown("the server is shutting down; try again"))

    def fail(self, slot: Slot, error: BatchqError) -> None:
        """Answers all that wait with an error."""
        self._end_waits(slot, error)

    def _end_waits(self, slot: Slot, error: BatchqError) -> None:
        for key in list(slot.parked):
            self._hub.answer_all(self._parking.pop(slot, key).everyone, error)
        for call in list(slot.for_room.values()):
            self._parking.leave_room(slot, call)
            if not self._answer_known(slot, call):
                self._hub.answer_all(call.tickets, error)

    def _answer_known(self, slot: Slot, call: Parked) -> bool:
        """Answers a call that was stored meanwhile by its twin; tells whether it was."""
        numbering = call.request.numbering
        try:
            return numbering is not None and self._known(call, slot.life, numbering)
        except BatchqError as error:
            self._hub.answer_all(call.tickets, error)
            return True


def _closed(life: Life) -> QueueClosed:
    return QueueClosed(
        f"queue {life.name!r} is closed; push to another queue, or delete this one first",
        queue_id=life.id,
    )


def _stale(life: Life, numbering: Numbering, epoch: int) -> StaleEpoch:
    return StaleEpoch(
        f"epoch {epoch} of producer {numbering.producer!r} is in force, a newer writer than "
        f"epoch {numbering.epoch}; stop, or claim a higher epoch",
        epoch=epoch,
        queue_id=life.id,
    )
