"""The model's pushes and closes."""

from __future__ import annotations

from model.naive_state import Answer, AnyOf, Life, Line, State, Waiter, cut

from batchq import errors
from batchq.model import (
    Batch,
    CloseRequest,
    Numbering,
    ProducerState,
    PullRequest,
    Pushed,
    PushRequest,
)


class Writers(State):
    """Decides what becomes of a push or a close as things are."""

    def _try_push(
        self, waiter: Waiter, request: PushRequest | CloseRequest, *, arrived: bool
    ) -> Answer | None:
        """In the protocol's order: queue id, epoch, sequence, closed, full."""
        life = self.lives.get(request.queue)
        number = request.numbering
        if request.queue_id is not None and (life is None or life.id != request.queue_id):
            record = self.records.get(request.queue_id)
            if record is not None and record.name == request.queue and number is not None:
                state = record.producers.get(number.producer)
                known = state and state.epoch == number.epoch and number.seq <= state.seq
                if state and known and (isinstance(request, PushRequest) or record.closed):
                    return self._duplicate(record, request, state)
            return errors.QueueReplaced("")
        ahead = False
        if number is not None:
            state = life.producers.get(number.producer) if life else None
            if state and number.epoch < state.epoch:
                return errors.StaleEpoch("", epoch=state.epoch)
            expected = self._expected(request.queue, number)
            if number.seq < expected:
                assert life is not None
                assert state is not None
                return self._duplicate(life, request, state)
            ahead = number.seq > expected
        if life is not None and life.closed is not None:
            return self._to_closed(life, request, arrived=arrived)
        if ahead:
            return self._park(waiter, request)
        if isinstance(request, CloseRequest):
            return self._close(life, request)
        return self._store_or_wait(waiter, life, request)

    def _expected(self, queue: str, number: Numbering) -> int:
        life = self.lives.get(queue)
        state = life.producers.get(number.producer) if life else None
        return state.seq + 1 if state and state.epoch == number.epoch else 0

    def _gap(self, queue: str, number: Numbering) -> errors.SequenceGap:
        return errors.SequenceGap("", expected=self._expected(queue, number), received=number.seq)

    def _duplicate(
        self, life: Life, request: PushRequest | CloseRequest, state: ProducerState
    ) -> Answer:
        """Reading: a known close of a life that is remembered is answered with its end."""
        if isinstance(request, CloseRequest):
            assert request.numbering is not None
            return life.end(request.numbering.producer)
        return Pushed(life.id, True, 0, 0, request.batch.lines, state)

    def _to_closed(
        self, life: Life, request: PushRequest | CloseRequest, *, arrived: bool
    ) -> Answer:
        """Reading: a close that was parked when another closed gets a 409 or the end."""
        if isinstance(request, PushRequest):
            return errors.QueueClosed("")
        number = request.numbering
        end = AnyOf((life.end(), life.end(number.producer if number else None)))
        if arrived:
            return end
        assert number is not None
        return AnyOf((*end.choices, errors.QueueClosed(""), self._gap(request.queue, number)))

    def _park(self, waiter: Waiter, request: PushRequest | CloseRequest) -> Answer | None:
        """Reading: a batch that is parked already shares its place, and its times."""
        assert request.numbering is not None
        if not waiter.parked:
            twin = next((w for w in self._pushes(waiter) if w.awaits_its_turn(request)), None)
            if twin is None and not self._may_hold(waiter):
                return self._gap(request.queue, request.numbering)
            waiter.parked = True
            waiter.deadline = self.now + self.limits.park_seconds
            if twin is not None:
                waiter.joined = twin.place
                waiter.deadline, waiter.patience = twin.deadline, twin.patience
        return None

    def _pushes(self, but: Waiter) -> list[Waiter]:
        """The other pushes that wait for the same queue."""
        return [
            w
            for w in self.waiting
            if w is not but
            and w.request.queue == but.request.queue
            and not isinstance(w.request, PullRequest)
        ]

    def _may_hold(self, waiter: Waiter) -> bool:
        """Reading: those that wait for room and those ahead of their turn are counted apart."""
        sizes = {
            w.place: w.size
            for w in self._pushes(waiter)
            if (w.room is None) == (waiter.room is None) and w.place != waiter.place
        }
        return (
            len(sizes) < self.limits.parked_batches
            and sum(sizes.values()) + waiter.size <= self.limits.parked_bytes
        )

    def _store_or_wait(
        self, waiter: Waiter, life: Life | None, request: PushRequest
    ) -> Answer | None:
        """Reading: pushes that wait for room are served first come, first served.

        The wait for room counts from the batch's arrival.
        """
        size = len(request.batch.data)
        if size > self.limits.queue_bytes:
            return errors.TooLarge("")
        before = [
            w.room
            for w in self.waiting
            if w.request.queue == request.queue and w.room is not None and w is not waiter
        ]
        first = waiter.room is None or all(waiter.room < room for room in before)
        overtakes = bool(before) if waiter.room is None else not first
        held = 0 if life is None else life.held_bytes
        if size == 0 or (not overtakes and held + size <= self.limits.queue_bytes):
            return self._store(life, request)
        if waiter.room is None:
            self._count += 1
            waiter.room = self._count
            waiter.deadline = waiter.patience
            if life is not None:
                life.refused = True
            beyond = not self._may_hold(waiter)
            if waiter.deadline <= self.now or beyond:
                return errors.QueueFull("")
        return None

    def _new_life(self, queue: str) -> Life:
        self._count += 1
        life = self.lives[queue] = Life(queue, f"life-{self._count}")
        return life

    def _count_up(self, life: Life, number: Numbering, batch: Batch) -> ProducerState:
        old = life.producers.get(number.producer, ProducerState(0, 0, 0, 0))
        state = ProducerState(
            number.epoch, number.seq, old.lines + batch.lines, old.bytes + len(batch.data)
        )
        life.producers[number.producer] = state
        return state

    def _store(self, life: Life | None, request: PushRequest) -> Answer:
        life = life or self._new_life(request.queue)
        offset, position = len(life.lines), life.total_bytes
        at = position
        for data in cut(request.batch.data):
            life.lines.append(Line(data, at))
            at += len(data)
        number = request.numbering
        state = None if number is None else self._count_up(life, number, request.batch)
        return Pushed(life.id, False, offset, position, request.batch.lines, state)

    def _close(self, life: Life | None, request: CloseRequest) -> Answer:
        lines = 0 if life is None else len(life.lines)
        size = 0 if life is None else life.total_bytes
        if request.lines not in {None, lines} or request.bytes not in {None, size}:
            return errors.TotalsDiffer("")
        life = life or self._new_life(request.queue)
        life.closed = request
        number = request.numbering
        if number is not None:
            self._count_up(life, number, Batch(b"", 0))
        return life.end(None if number is None else number.producer)
