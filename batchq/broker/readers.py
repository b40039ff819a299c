"""The readers' rules: pulls and waiting.

Several waiting pulls are served in the order they came, each when its own condition
holds. What becomes of lines that were handed out is told in ``leases``.
"""

from __future__ import annotations

from typing import Final

from batchq import lines
from batchq.broker.hub import Hub, replaced
from batchq.broker.leases import Leases
from batchq.broker.log import Missing, Point, Span
from batchq.broker.state import Held, LeaseState, Life, Slot, Ticket, Waiter
from batchq.errors import BatchqError, NotAcceptable, TooManyLeases
from batchq.model import MIB, End, Lease, Nothing, Pulled, PullRequest

_NO_BOUND: Final = 2**62

READ_AHEAD: Final = 4 * MIB
"""Lines that are brought to memory at once, so that the next pulls find theirs."""


class Readers:
    """Decides pulls.

    Args:
        hub: the shared state.
        leases: keeps the lines that are out.
    """

    def __init__(self, hub: Hub, leases: Leases) -> None:
        self._hub = hub
        self._leases = leases

    # Pulls

    def pull(self, now: float, ticket: Ticket, request: PullRequest) -> None:
        """Answers a pull, or lets it wait."""
        hub = self._hub
        slot = hub.slots.get(request.queue)
        life = slot.life if slot is not None else None
        if request.queue_id is not None and (life is None or life.id != request.queue_id):
            hub.answer(ticket, self._over(request, request.queue_id, life))
            return
        if hub.draining:
            hub.answer(ticket, Nothing(life.id if life is not None and life.born else None))
            return
        slot = hub.slot(request.queue)
        waiter = Waiter(ticket, request)
        if not _awaits_lines(slot) and self._serve(now, slot, waiter):
            self._serve_twins(now, slot, waiter)
            return
        if request.wait <= 0:
            if not self._give_up(now, slot, waiter):
                self._enqueue(slot, waiter)
            hub.tidy(slot)
            return
        waiter.timer = hub.timers.at(
            now + request.wait, lambda at: self._time_out(at, slot, waiter)
        )
        self._enqueue(slot, waiter)

    def _over(self, request: PullRequest, queue_id: str, life: Life | None) -> BatchqError | End:
        """Makes the answer to a pull from a life that is not the current one."""
        record = self._hub.record(request.queue, queue_id)
        if record is not None and record.drained:
            return record.end
        return replaced(request.queue, queue_id, life)

    def settle(self, now: float, slot: Slot) -> None:
        """Serves the waiting pulls that can be served after something has changed."""
        life = slot.life
        if not slot.waiters or life is None or not life.born or life.awaited:
            return
        if not slot.over and self._nobody_content(slot, life):
            return
        served = []
        slot.min_lines = slot.min_bytes = _NO_BOUND
        for waiter in slot.waiters.values():
            nothing = life.ready.lines == 0 and not life.drained and not slot.over
            if nothing or _awaits_lines(slot):
                slot.min_lines = slot.min_bytes = 0
                break
            if self._serve(now, slot, waiter) or (waiter.over and self._give_up(now, slot, waiter)):
                served.append(waiter)
            else:
                slot.min_lines = min(slot.min_lines, waiter.request.min)
                slot.min_bytes = min(slot.min_bytes, waiter.request.max_bytes)
        for waiter in served:
            self._dequeue(slot, waiter)
        for waiter in served:
            self._serve_twins(now, slot, waiter)

    def _nobody_content(self, slot: Slot, life: Life) -> bool:
        """Tells, without looking at each waiter, that none can be served."""
        run = life.ready.first()
        if run is None:
            return not life.drained
        return (
            run.lines < slot.min_lines
            and run.bytes < slot.min_bytes
            and self._can_grow(slot, life, run)
        )

    def _can_grow(self, slot: Slot, life: Life, run: Span) -> bool:
        """Tells whether pushes may still make the first run longer.

        What is decided and not yet committed will, also where the queue is full with it.
        """
        if run.end != life.tail or life.closed is not None:
            return False
        return life.staged != life.tail or not self._full(slot, life)

    def _full(self, slot: Slot, life: Life) -> bool:
        return life.refused or bool(slot.for_room) or life.stored >= self._hub.limits.queue_bytes

    def _serve(self, now: float, slot: Slot, waiter: Waiter) -> bool:
        """Answers a pull whose condition holds; tells whether it did."""
        life, request = slot.life, waiter.request
        if life is None or not life.born:
            return False
        if request.lease_id is not None and request.lease_id in life.leases:
            return self._hand_out_again(now, slot, life.leases[request.lease_id], waiter)
        run = life.ready.first()
        if run is None:
            if life.drained:
                self._hub.answer(waiter.ticket, life.end())
            return life.drained
        if (
            run.lines >= request.min
            or run.bytes >= request.max_bytes
            or not self._can_grow(slot, life, run)
        ):
            return self._hand_out(now, slot, life, run, waiter)
        return False

    def _hand_out(self, now: float, slot: Slot, life: Life, run: Span, waiter: Waiter) -> bool:
        """Takes lines for a pull, or refuses it; tells whether they were in memory."""
        request = waiter.request
        limit = self._hub.limits.leases
        if request.lease is not None and len(life.leases) >= limit:
            self._hub.answer(waiter.ticket, _too_many_leases(life, limit))
            return True
        end = life.log.cut(run, request.max, request.max_bytes)
        if isinstance(end, Missing):
            self._await_lines(life, end)
            return False
        data = life.log.read(Span(run.start, end))
        if request.utf8:
            size = lines.valid_utf8(data)
            if size == 0:
                self._hub.answer(waiter.ticket, _not_utf8(life, run.start))
                return True
            if size < len(data):
                data = data[:size]
                count = lines.count(data)
                end = Point(run.start.offset + count, run.start.position + size)
        hold = LeaseState(None, life, life.ready.take(end))
        life.out_lines += hold.span.lines
        lease = self._leases.lend(now, hold, request.lease, request.lease_id)
        self._hub.answer(waiter.ticket, Held(_pulled(hold, data, lease), slot.name, hold))
        self._read_ahead(life)
        return True

    def _hand_out_again(self, now: float, slot: Slot, hold: LeaseState, waiter: Waiter) -> bool:
        """Answers a retried pull with what its lease holds; the lease begins anew.

        Tells whether the lines were in memory.
        """
        life = hold.life
        missing = life.log.missing(hold.span)
        if missing is not None:
            self._await_lines(life, missing)
            return False
        hold.times += 1
        seconds = waiter.request.lease
        lease = self._leases.arm(now, hold, seconds if seconds is not None else 0.0)
        pulled = _pulled(hold, life.log.read(hold.span), lease)
        self._hub.answer(waiter.ticket, Held(pulled, slot.name, hold))
        return True

    # Lines that are not in memory

    def _await_lines(self, life: Life, missing: Missing) -> None:
        """Lets the pulls of a life wait for lines that have to come to memory."""
        life.awaited = True
        self._hub.load(life, Missing(missing.start, max(missing.bytes, READ_AHEAD)))

    def _read_ahead(self, life: Life) -> None:
        """Sees to it that the lines of the next pulls come to memory in time."""
        life.log.touch()
        if not life.log.gaps or life.loading:
            return
        run = life.ready.first()
        if run is None:
            return
        missing = life.log.missing(run)
        if missing is None or missing.start.position - run.start.position >= READ_AHEAD // 2:
            return
        self._hub.load(life, Missing(missing.start, min(missing.bytes, READ_AHEAD)))

    def loaded(self, now: float, life: Life) -> None:
        """Goes on with the pulls of a life after lines came to memory."""
        life.loading = life.awaited = False
        slot = self._hub.slots.get(life.name)
        if slot is not None and slot.life is life:
            self.settle(now, slot)
            self._hub.tidy(slot)

    # Waiting

    def _enqueue(self, slot: Slot, waiter: Waiter) -> None:
        request = waiter.request
        if not slot.waiters:
            slot.min_lines, slot.min_bytes = request.min, request.max_bytes
        slot.min_lines = min(slot.min_lines, request.min)
        slot.min_bytes = min(slot.min_bytes, request.max_bytes)
        slot.waiters[waiter.ticket] = waiter
        slot.over += waiter.over
        if request.lease_id is not None:
            slot.by_lease.setdefault(request.lease_id, []).append(waiter)

    def _dequeue(self, slot: Slot, waiter: Waiter) -> None:
        del slot.waiters[waiter.ticket]
        slot.over -= waiter.over
        self._hub.timers.cancel(waiter.timer)
        lease_id = waiter.request.lease_id
        if lease_id is not None:
            twins = slot.by_lease[lease_id]
            twins.remove(waiter)
            if not twins:
                del slot.by_lease[lease_id]

    def _serve_twins(self, now: float, slot: Slot, served: Waiter) -> None:
        """Gives the same lines to waiting retries of a pull that was served."""
        lease_id = served.request.lease_id
        life = slot.life
        if lease_id is None or lease_id not in slot.by_lease:
            return
        if life is None or lease_id not in life.leases:
            return
        for twin in list(slot.by_lease[lease_id]):
            if self._serve(now, slot, twin):
                self._dequeue(slot, twin)

    def _time_out(self, now: float, slot: Slot, waiter: Waiter) -> None:
        slot.over += not waiter.over
        waiter.over = True
        if self._give_up(now, slot, waiter):
            self._dequeue(slot, waiter)
            self._serve_twins(now, slot, waiter)
            self._hub.tidy(slot)

    def _give_up(self, now: float, slot: Slot, waiter: Waiter) -> bool:
        """Answers a pull whose wait is over: with what there is, if it wants that.

        Tells whether it did; it can't while lines are not in memory.
        """
        waiter.over = True
        if _awaits_lines(slot):
            return False
        life = slot.life if slot.life is not None and slot.life.born else None
        run = life.ready.first() if life is not None else None
        if life is not None and run is not None and waiter.request.partial:
            return self._hand_out(now, slot, life, run, waiter)
        self._hub.answer(waiter.ticket, Nothing(life.id if life is not None else None))
        return True

    def cancel(self, slot: Slot, ticket: Ticket) -> None:
        """Forgets a pull that waits."""
        waiter = slot.waiters.get(ticket)
        if waiter is not None:
            self._dequeue(slot, waiter)

    def drain(self, slot: Slot) -> None:
        """Answers all waiting pulls with nothing: the server is about to end."""
        life = slot.life if slot.life is not None and slot.life.born else None
        for waiter in list(slot.waiters.values()):
            self._dequeue(slot, waiter)
            self._hub.answer(waiter.ticket, Nothing(life.id if life is not None else None))

    def fail(self, slot: Slot, error: BatchqError) -> None:
        """Answers all waiting pulls with an error."""
        for waiter in list(slot.waiters.values()):
            self._dequeue(slot, waiter)
            self._hub.answer(waiter.ticket, error)

    def ended(self, slot: Slot, life: Life) -> None:
        """Ends what was out of a life that was deleted, and the pulls that pinned it."""
        self._leases.ended(life)
        for waiter in list(slot.waiters.values()):
            if waiter.request.queue_id == life.id:
                self._dequeue(slot, waiter)
                self._hub.answer(waiter.ticket, self._over(waiter.request, life.id, None))
            elif waiter.over:
                self._dequeue(slot, waiter)
                self._hub.answer(waiter.ticket, Nothing(None))


def _awaits_lines(slot: Slot) -> bool:
    return slot.life is not None and slot.life.awaited


def _pulled(hold: LeaseState, data: bytes, lease: Lease | None) -> Pulled:
    life, span = hold.life, hold.span
    return Pulled(
        queue_id=life.id,
        offset=span.start.offset,
        position=span.start.position,
        lines=span.lines,
        data=data,
        ready=life.ready.lines,
        deliveries=hold.deliveries,
        lease=lease,
    )


def _too_many_leases(life: Life, limit: int) -> TooManyLeases:
    return TooManyLeases(
        f"queue {life.name!r} has {limit} leases out, as many as --max-leases allows; "
        "acknowledge some, or take more lines on each",
        queue_id=life.id,
    )


def _not_utf8(life: Life, start: Point) -> NotAcceptable:
    return NotAcceptable(
        f"the line at offset {start.offset} is not UTF-8 and can't be given in this form; "
        "ask with Accept: text/plain or application/msgpack",
        queue_id=life.id,
    )
