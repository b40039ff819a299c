"""The broker as its store sees it: verbs, changes, answers, time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchq.broker.changes import (
    Append,
    Change,
    Close,
    Consume,
    Delete,
    Forget,
    Load,
    PutBack,
)
from batchq.broker.hub import Hub, Outcome
from batchq.broker.leases import Leases
from batchq.broker.log import Span
from batchq.broker.readers import Readers
from batchq.broker.restore import Kept, restore_life
from batchq.broker.state import Held, Life, Record, Slot, Ticket
from batchq.broker.undo import fail_waits, undo
from batchq.broker.writers import Writers
from batchq.errors import BatchqError, NoSuchQueue
from batchq.model import (
    CloseRequest,
    Limits,
    ProducerState,
    PullRequest,
    PushRequest,
    QueueStats,
)


class Broker:
    """All queues of one process.

    Args:
        limits: how much may be held.
        new_id: makes random ids for lives and leases, valid as both.
        memory: payload bytes that may stay in memory, where the store keeps them elsewhere
            and can load them again; None where memory is all there is.
    """

    def __init__(
        self, limits: Limits, new_id: Callable[[], str], memory: int | None = None
    ) -> None:
        self._hub = Hub(limits, new_id, memory)
        self._leases = Leases(self._hub, on_ready=lambda slot, now: self._readers.settle(now, slot))
        self._readers = Readers(self._hub, self._leases)
        self._writers = Writers(
            self._hub, on_full=lambda slot, now: self._readers.settle(now, slot)
        )

    # Verbs: each is answered through its ticket, now or later

    def submit(self, now: float, ticket: Ticket, request: PushRequest | CloseRequest) -> None:
        """Pushes or closes. Outcome: ``Pushed`` or ``End``, or an error."""
        self._writers.submit(now, ticket, request)

    def pull(self, now: float, ticket: Ticket, request: PullRequest) -> None:
        """Pulls; ``request.ack`` is not looked at here.

        Outcome: ``Held``, to be followed by ``give_back`` if the reader has left, and without a
        lease else by ``finish``; ``Nothing``; ``End``; or an error.
        """
        self._readers.pull(now, ticket, request)

    def finish(self, ticket: Ticket, held: Held) -> None:
        """Makes lines without a lease gone, for ``taken``. Outcome: the queue's id, or an error."""
        self._leases.finish(ticket, held)

    def taken(self, now: float, held: Held) -> None:
        """Is told that the reader has lines whose ``finish`` was answered with the queue's id."""
        self._leases.taken(held)
        self._dropped(now, held.hold.life)

    def give_back(self, now: float, held: Held) -> None:
        """Puts held lines back in their place, as if they had not been taken."""
        self._leases.give_back(now, held)

    def recall(self, ticket: Ticket, held: Held) -> None:
        """Puts lines back after ``finish``, in place of ``taken``.

        Outcome: the queue's id when they are back, or an error when that is not yet so.
        """
        self._leases.recall(ticket, held)

    def ack(self, ticket: Ticket, queue: str, leases: Sequence[str], queue_id: str | None) -> None:
        """Acknowledges leases. Outcome: the queue's id, or an error."""
        self._leases.ack(ticket, queue, leases, queue_id)

    def release(
        self, now: float, ticket: Ticket, queue: str, leases: Sequence[str], queue_id: str | None
    ) -> None:
        """Gives leases back. Outcome: the queue's id, or an error."""
        self._leases.release(now, ticket, queue, leases, queue_id)

    def extend(
        self,
        now: float,
        ticket: Ticket,
        queue: str,
        leases: Sequence[str],
        seconds: float,
        queue_id: str | None,
    ) -> None:
        """Sets when leases end. Outcome: the queue's id, or an error."""
        self._leases.extend(now, ticket, queue, leases, seconds, queue_id)

    def delete(self, ticket: Ticket, queue: str, queue_id: str | None) -> None:
        """Ends a life. Outcome: its id, or an error."""
        try:
            life = self._existing(queue, queue_id)
        except BatchqError as error:
            self._hub.answer(ticket, error)
            return
        self._hub.end_life(self._hub.slots[queue])
        self._hub.stage(Delete(life, ticket))

    def cancel(self, now: float, queue: str, ticket: Ticket) -> None:
        """Forgets a call that waits; one that doesn't is let be."""
        slot = self._hub.slots.get(queue)
        if slot is not None:
            self._readers.cancel(slot, ticket)
            self._writers.cancel(now, slot, ticket)
            self._hub.tidy(slot)

    def drain(self) -> None:
        """Answers everything that waits, and lets nothing wait any more."""
        self._hub.draining = True
        for slot in list(self._hub.slots.values()):
            self._readers.drain(slot)
            self._writers.drain(slot)
            self._hub.tidy(slot)
        self._leases.restore_again()

    # What a store does with it

    def take_changes(self) -> list[Change]:
        """Gives what is decided and was not given before, in the order to commit it."""
        changes, self._hub.changes = self._hub.changes, []
        return changes

    def take_answers(self) -> list[tuple[Ticket, Outcome]]:
        """Gives the answers that are due."""
        answers, self._hub.answers = self._hub.answers, []
        return answers

    def applied(self, now: float, change: Change) -> None:
        """Makes a change visible: it is durable. In the order of ``take_changes``."""
        self._hub.outstanding.popleft()
        match change:
            case Append():
                self._appended(now, change)
            case Close():
                self._closed(now, change)
            case Consume():
                if self._leases.consumed(now, change):
                    self._dropped(now, change.life)
            case PutBack():
                self._leases.restored(now, change)
            case Delete():
                self._deleted(now, change)
            case Forget():
                self._forgotten(change)

    @property
    def pending(self) -> int:
        """How many changes are decided and not yet committed."""
        return len(self._hub.outstanding)

    def abort(self, now: float, error: BatchqError, *, everything: bool) -> list[Change]:
        """Takes back what was decided and can't be made durable; its calls get the error.

        Args:
            now: the time.
            error: why.
            everything: also what needs no room on the disk, where nothing is left that does.

        Returns:
            What is still to be committed, in order: it is to be handed to the store anew.
        """
        changes = list(self._hub.outstanding)
        if everything and not any(isinstance(c, PutBack) for c in changes):
            return self._take_back(now, error, changes)
        failed = [c for c in changes if isinstance(c, Append | Close | PutBack)]
        return self._take_back(now, error, failed)

    def _take_back(self, now: float, error: BatchqError, failed: Sequence[Change]) -> list[Change]:
        hub = self._hub
        gone = set(map(id, failed))
        left = [change for change in hub.outstanding if id(change) not in gone]
        hub.outstanding.clear()
        hub.outstanding.extend(left)
        hub.changes.clear()
        for slot in undo(hub, self._leases, now, failed, error):
            self._writers.make_room(now, slot)
            self._readers.settle(now, slot)
            hub.tidy(slot)
        return left

    def fail(self, now: float, error: BatchqError) -> None:
        """Ends everything with an error: the store has failed for good."""
        self._take_back(now, error, list(self._hub.outstanding))
        for slot in list(self._hub.slots.values()):
            fail_waits(self._readers, self._writers, slot, error)
            self._hub.tidy(slot)

    def take_loads(self) -> list[Load]:
        """Gives what has to come to memory and was not given before."""
        loads, self._hub.loads = self._hub.loads, []
        return loads

    def loaded(self, now: float, load: Load, pieces: Sequence[tuple[Span, bytes]]) -> bool:
        """Takes lines that a load asked for.

        Args:
            now: the time.
            load: as it was given by ``take_loads``.
            pieces: consecutive lines, in order; none where the life is over.

        Returns:
            Whether they were those that were asked for, or nobody wants these any more; if
            not, lines are missing that the store ought to have.
        """
        life = load.life
        life.log.make_room(sum(len(data) for _, data in pieces))
        for span, data in pieces:
            life.log.fill(span, data)
        slot = self._hub.slots.get(life.name)
        if slot is not None and slot.life is life and life.log.lacks(load.start):
            leaving = any(
                isinstance(change, Consume | Delete) and change.life is life
                for change in self._hub.outstanding
            )
            if not leaving:
                return False
        self._readers.loaded(now, life)
        return True

    def restore(self, now: float, kept: Sequence[Kept]) -> None:
        """Begins with what a store has kept of an earlier process. Before any verb."""
        for life in kept:
            restored = restore_life(self._hub, life)
            if restored is None:
                self._expire_record(life.id, now + life.expires_in)
            elif restored.drained:
                self._expire_drained(now, restored, life.expires_in)

    def next_deadline(self) -> float | None:
        """Tells when ``tick`` is due."""
        return self._hub.timers.next()

    def tick(self, now: float) -> None:
        """Ends the waits, leases and records whose time has come."""
        self._hub.timers.run(now)

    # Statistics

    def queues(self) -> list[QueueStats]:
        """All queues, by name."""
        slots = sorted(self._hub.slots.values(), key=lambda slot: slot.name)
        return [
            _stats(slot, slot.life) for slot in slots if slot.life is not None and slot.life.born
        ]

    def stats(self, queue: str, queue_id: str | None) -> QueueStats:
        """One queue. Raises ``NoSuchQueue``, ``QueueReplaced``."""
        life = self._existing(queue, queue_id)
        return _stats(self._hub.slots[queue], life)

    def producer(self, queue: str, producer: str, queue_id: str | None) -> ProducerState | None:
        """What a queue has of a producer. Raises as ``stats``."""
        known = self._existing(queue, queue_id).producers.get(producer)
        return known.committed if known is not None else None

    def staged(self, queue: str, queue_id: str | None) -> Life | None:
        """The current life with what is decided for it, committed or not, or None.

        Raises:
            QueueReplaced: ``queue_id`` is given and is not the current life.
        """
        return self._hub.life(queue, queue_id)

    def _existing(self, queue: str, queue_id: str | None) -> Life:
        life = self._hub.life(queue, queue_id)
        if life is None or not life.born:
            raise NoSuchQueue(f"there is no queue {queue!r}; a first push creates it")
        return life

    # Once a change is committed

    def _slot_of(self, life: Life) -> Slot:
        return self._hub.slot(life.name)

    def _appended(self, now: float, change: Append) -> None:
        life = change.life
        slot = self._slot_of(life)
        life.born = True
        life.tail = change.span.end
        life.log.append(change.batch)
        life.ready.put(change.span, 0)
        self._writers.appended(slot, change)
        if slot.life is life:
            self._writers.make_room(now, slot)
            self._readers.settle(now, slot)

    def _closed(self, now: float, change: Close) -> None:
        life = change.life
        slot = self._slot_of(life)
        life.born = True
        life.closed = change.closing
        self._writers.closed(slot, change)
        if slot.life is life:
            self._readers.settle(now, slot)
            self._expire_drained(now, life)

    def _dropped(self, now: float, life: Life) -> None:
        """Goes on after lines were dropped."""
        slot = self._hub.slots.get(life.name)
        if slot is not None and slot.life is life:
            self._writers.make_room(now, slot)
            self._readers.settle(now, slot)
            self._expire_drained(now, life)

    def _deleted(self, now: float, change: Delete) -> None:
        life = change.life
        slot = self._slot_of(life)
        hub = self._hub
        hub.timers.cancel(life.expiry)
        hub.records[life.id] = Record(
            name=life.name,
            end=life.end(),
            closed=life.closed is not None,
            drained=life.drained,
            producers={
                name: known.committed
                for name, known in life.producers.items()
                if known.committed is not None
            },
        )
        self._expire_record(life.id, now + hub.limits.keep_closed)
        if len(hub.records) > hub.limits.queues:
            hub.stage(Forget(record=next(iter(hub.records))))
        life.log.forget()
        life.over = True
        self._readers.ended(slot, life)
        self._writers.ended(slot, life)
        hub.answer(change.ticket, life.id)
        hub.tidy(slot)

    def _forgotten(self, change: Forget) -> None:
        hub = self._hub
        if change.record is not None:
            hub.records.pop(change.record, None)
        if change.life is not None:
            slot = self._slot_of(change.life)
            if slot.life is change.life:
                hub.end_life(slot)
            change.life.log.forget()
            change.life.over = True
            hub.tidy(slot)

    def _expire_drained(self, now: float, life: Life, after: float | None = None) -> None:
        """Lets a drained life be forgotten after its time."""
        if life.drained and life.expiry is None:
            hub = self._hub
            life.expiry = hub.timers.at(
                now + (hub.limits.keep_closed if after is None else after),
                lambda _at: hub.stage(Forget(life=life)),
            )

    def _expire_record(self, record: str, when: float) -> None:
        """Lets the record of a life that is over be forgotten after its time."""
        self._hub.timers.at(when, lambda _at: self._hub.stage(Forget(record=record)))


def _stats(slot: Slot, life: Life) -> QueueStats:
    closed = life.closed
    return QueueStats(
        queue=slot.name,
        queue_id=life.id,
        lines=life.tail.offset,
        bytes=life.tail.position,
        ready_lines=life.ready.lines,
        ready_bytes=life.ready.bytes,
        leased_lines=life.leased_lines,
        leases=len(life.leases),
        stored_bytes=life.stored,
        waiting_pulls=len(slot.waiters),
        parked_pushes=len(slot.parked) + len(slot.for_room),
        producers=len(life.producers),
        closed=closed is not None,
        drained=life.drained,
        digest=closed.digest if closed is not None else None,
        unterminated=closed.unterminated if closed is not None else False,
    )
