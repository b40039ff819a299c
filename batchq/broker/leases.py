"""What becomes of lines that were handed out: acknowledged, given back, or run out of time.

Lines that are taken without a lease are made gone when the caller says so (``finish``), and
stay out until it says that the reader has them (``taken``), so that a reader who left before
that has taken nothing: what was committed meanwhile is undone by a change of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from batchq.broker.changes import Consume, PutBack
from batchq.broker.hub import Hub
from batchq.broker.log import Span
from batchq.broker.state import Held, LeaseState, Life, Slot, Ticket
from batchq.errors import BatchqError, LeaseLost, QueueReplaced
from batchq.model import Lease

RESTORE_AGAIN: Final = 1.0
"""Seconds after which lines that found no room on the disk are put back again."""


class Leases:
    """Keeps the lines that are out.

    Args:
        hub: the shared state.
        on_ready: told of a slot whose lines are ready again.
    """

    def __init__(self, hub: Hub, on_ready: Callable[[Slot, float], None]) -> None:
        self._hub = hub
        self._on_ready = on_ready
        self._unwritten: list[PutBack] = []

    def lend(
        self, now: float, hold: LeaseState, seconds: float | None, lease_id: str | None
    ) -> Lease | None:
        """Makes a lease of lines that are on their way, where one is asked for."""
        if seconds is None:
            return None
        hold.id = lease_id or self._hub.new_id()
        hold.life.leases[hold.id] = hold
        hold.life.leased_lines += hold.span.lines
        return self.arm(now, hold, seconds)

    def arm(self, now: float, hold: LeaseState, seconds: float) -> Lease:
        """Sets when a lease runs out."""
        seconds = min(seconds, self._hub.limits.lease_seconds)
        self._hub.timers.cancel(hold.timer)
        hold.timer = self._hub.timers.at(now + seconds, lambda at: self._run_out(at, hold))
        return Lease(hold.id or "", seconds)

    def finish(self, ticket: Ticket, held: Held) -> None:
        """Makes lines gone that were taken without a lease."""
        hold = held.hold
        hold.consume = self._consume(ticket, hold.life, (hold,), None)

    def taken(self, held: Held) -> None:
        """Drops lines that are gone: their reader has them."""
        held.hold.consume = None
        self._drop(held.hold.life, held.hold.span)

    def give_back(self, now: float, held: Held) -> None:
        """Puts lines back whose reader left before they were made gone, or given on a lease.

        A lease that another call was given, too, holds on.
        """
        hold = held.hold
        if hold.id is not None and hold.life.leases.get(hold.id) is not hold:
            return
        hold.times -= 1
        if hold.times == 0:
            self._run_out(now, hold)

    def recall(self, ticket: Ticket, held: Held) -> None:
        """Puts lines back whose reader left while they were made gone, or thereafter."""
        hold = held.hold
        put_back = PutBack(hold.life, hold, held.pulled.data, ticket)
        if hold.consume is None:
            self._hub.answer(ticket, hold.life.id)
        elif hold.consume.committed:
            self._hub.stage(put_back)
        else:
            hold.consume.put_back = put_back

    def ack(self, ticket: Ticket, queue: str, leases: Sequence[str], queue_id: str | None) -> None:
        """Is done with the lines of leases."""
        life, known, error = self._find(queue, leases, queue_id)
        if life is None or not known:
            self._hub.answer(ticket, error or (life.id if life is not None else ""))
            return
        for hold in known:
            self._unlease(hold)
        self._consume(ticket, life, tuple(known), error)

    def release(
        self, now: float, ticket: Ticket, queue: str, leases: Sequence[str], queue_id: str | None
    ) -> None:
        """Puts the lines of leases back in their old place."""
        life, known, error = self._find(queue, leases, queue_id)
        self._hub.answer(ticket, error or (life.id if life is not None else ""))
        for hold in known:
            self._run_out(now, hold)

    def extend(
        self,
        now: float,
        ticket: Ticket,
        queue: str,
        leases: Sequence[str],
        seconds: float,
        queue_id: str | None,
    ) -> None:
        """Lets leases end later, or earlier."""
        life, known, error = self._find(queue, leases, queue_id)
        for hold in known:
            self.arm(now, hold, seconds)
        self._hub.answer(ticket, error or (life.id if life is not None else ""))

    def _find(
        self, queue: str, ids: Sequence[str], queue_id: str | None
    ) -> tuple[Life | None, list[LeaseState], BatchqError | None]:
        """Finds leases; the error is what the caller is told."""
        try:
            life = self._hub.life(queue, queue_id)
        except QueueReplaced as over:
            return None, [], over
        leases = life.leases if life is not None else {}
        known = [leases[lease_id] for lease_id in dict.fromkeys(ids) if lease_id in leases]
        lost = tuple(lease_id for lease_id in dict.fromkeys(ids) if lease_id not in leases)
        if not lost:
            return life, known, None
        error = LeaseLost(
            f"not out on lease: {', '.join(lost)}; the lines were acknowledged before, or their "
            "time ran out and they go to another reader",
            lost=lost,
            queue_id=life.id if life is not None else None,
        )
        return life, known, error

    def _consume(
        self,
        ticket: Ticket,
        life: Life,
        holds: tuple[LeaseState, ...],
        error: BatchqError | None,
    ) -> Consume:
        change = Consume(life, holds, ticket, error)
        self._hub.stage(change)
        return change

    def consumed(self, now: float, change: Consume) -> bool:
        """Sees to lines once it is committed that they are gone, or done with.

        Tells whether some were dropped: not those that their reader has yet to take.
        """
        change.committed = True
        self._hub.answer(change.ticket, change.error or change.life.id)
        put_back = change.put_back
        if put_back is None:
            leased = [hold for hold in change.holds if hold.id is not None]
            for hold in leased:
                self._drop(change.life, hold.span)
            return bool(leased)
        if change.skipped:
            self.restored(now, put_back)
        else:
            self._hub.stage(put_back)
        return False

    def _drop(self, life: Life, span: Span) -> None:
        if not life.over:
            life.log.drop(span)
        life.out_lines -= span.lines
        life.stored -= span.bytes
        life.refused = False

    def restored(self, now: float, change: PutBack) -> None:
        """Makes lines ready again once it is committed that they are not gone."""
        self._undo_taking(now, change.hold)
        self._hub.answer(change.ticket, change.life.id)

    def unconsume(self, now: float, change: Consume, error: BatchqError) -> None:
        """Takes back that lines are done with: leases hold on, the others are ready again."""
        self._hub.answer(change.ticket, error)
        if change.put_back is not None:
            self._hub.answer(change.put_back.ticket, error)
        for hold in change.holds:
            if hold.id is None:
                self._undo_taking(now, hold)
                continue
            hold.life.leases[hold.id] = hold
            hold.life.leased_lines += hold.span.lines
            ends = hold.timer.when if hold.timer is not None else now
            self.arm(now, hold, max(0.0, ends - now))

    def unrestore(self, now: float, change: PutBack, error: BatchqError) -> None:
        """Keeps lines out that could not be put back, and sees to it that it is tried again."""
        self._hub.answer(change.ticket, error)
        if not self._unwritten:
            self._hub.timers.at(now + RESTORE_AGAIN, lambda _at: self.restore_again())
        self._unwritten.append(change)

    def restore_again(self) -> None:
        """Tries again to put lines back."""
        changes, self._unwritten = self._unwritten, []
        for change in changes:
            self._hub.stage(change)

    def _undo_taking(self, now: float, hold: LeaseState) -> None:
        hold.consume = None
        hold.times -= 1
        self._put_back(now, hold)

    def _run_out(self, now: float, hold: LeaseState) -> None:
        """Ends a lease whose lines are not done with."""
        self._unlease(hold)
        self._put_back(now, hold)

    def _unlease(self, hold: LeaseState) -> None:
        life = hold.life
        if hold.id is not None and life.leases.pop(hold.id, None) is not None:
            life.leased_lines -= hold.span.lines
        self._hub.timers.cancel(hold.timer)

    def _put_back(self, now: float, hold: LeaseState) -> None:
        life = hold.life
        life.out_lines -= hold.span.lines
        for run in hold.runs:
            life.ready.put(run.span, run.deliveries + hold.times)
        slot = self._hub.slots.get(life.name)
        if slot is not None and slot.life is life:
            self._on_ready(slot, now)

    def ended(self, life: Life) -> None:
        """Forgets the leases of a life that was deleted."""
        for hold in life.leases.values():
            self._hub.timers.cancel(hold.timer)
        life.leases.clear()
