"""What the broker's two halves share: names, records, timers, limits, and the outbox."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from batchq.broker.cache import Cache
from batchq.broker.changes import Change, Load
from batchq.broker.log import Log, Missing
from batchq.broker.state import Answer, Held, Life, Record, Slot, Ticket
from batchq.broker.timers import Timers
from batchq.errors import BatchqError, QueueReplaced, TooManyQueues
from batchq.model import Limits

Outcome = Answer | Held | BatchqError


class Hub:
    """The shared state.

    Attributes:
        limits: how much may be held.
        new_id: makes random ids for lives and leases.
        slots: all names that exist or are waited for.
        records: lives that are over, by id.
        timers: all deadlines.
        changes: decided, to be handed to the store in this order.
        outstanding: decided and not yet committed, in this order; ``changes`` among them.
        answers: decided, to be given to who asked.
        loads: lines that have to come to memory, to be handed to the store.
        cache: bounds the lines in memory, or None where all lines stay there.
        lives: how many names have a life.
        held_bytes: payload bytes of all pushes that wait.
        draining: the server is about to end.
    """

    def __init__(
        self, limits: Limits, new_id: Callable[[], str], memory: int | None = None
    ) -> None:
        self.limits = limits
        self.new_id = new_id
        self.slots: dict[str, Slot] = {}
        self.records: dict[str, Record] = {}
        self.timers = Timers()
        self.changes: list[Change] = []
        self.outstanding: deque[Change] = deque()
        self.answers: list[tuple[Ticket, Outcome]] = []
        self.loads: list[Load] = []
        self.cache = Cache(memory) if memory is not None else None
        self.lives = 0
        self.held_bytes = 0
        self.draining = False

    def slot(self, name: str) -> Slot:
        """Gives the slot of a name, making it if need be."""
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = Slot(name)
        return slot

    def tidy(self, slot: Slot) -> None:
        """Forgets a name of which nothing is known and that nobody waits for."""
        if slot.idle:
            self.slots.pop(slot.name, None)

    def life(self, name: str, queue_id: str | None) -> Life | None:
        """Gives the current life of a name, or None.

        Raises:
            QueueReplaced: ``queue_id`` is given and is not the current life.
        """
        slot = self.slots.get(name)
        life = slot.life if slot is not None else None
        if queue_id is not None and (life is None or life.id != queue_id):
            raise replaced(name, queue_id, life)
        return life

    def record(self, name: str, queue_id: str | None) -> Record | None:
        """Gives the record of an ended life of this name, or None."""
        record = self.records.get(queue_id) if queue_id is not None else None
        return record if record is not None and record.name == name else None

    def new_life(self, slot: Slot) -> Life:
        """Begins a life, decided.

        Raises:
            TooManyQueues: there are as many as may be.
        """
        if self.lives >= self.limits.queues:
            raise TooManyQueues(
                f"there are {self.lives} queues, as many as --max-queues allows; "
                "delete those that are done with"
            )
        self.lives += 1
        life = slot.life = self.make_life(self.new_id(), slot.name)
        return life

    def make_life(self, queue_id: str, name: str) -> Life:
        """Makes a life whose lines are held as this process holds them."""
        return Life(id=queue_id, name=name, log=Log(cache=self.cache))

    def end_life(self, slot: Slot) -> None:
        """Takes the current life from its name."""
        slot.life = None
        self.lives -= 1

    def stage(self, change: Change) -> None:
        """Hands a decided change to the store."""
        self.changes.append(change)
        self.outstanding.append(change)

    def load(self, life: Life, missing: Missing) -> None:
        """Asks for lines to come to memory; one request a life at a time."""
        if not life.loading:
            life.loading = True
            self.loads.append(Load(life, missing.start, missing.bytes))

    def answer(self, ticket: Ticket, outcome: Outcome) -> None:
        """Answers a call."""
        self.answers.append((ticket, outcome))

    def answer_all(self, tickets: Sequence[Ticket], outcome: Outcome) -> None:
        """Answers several calls alike."""
        for ticket in tickets:
            self.answers.append((ticket, outcome))


def replaced(name: str, queue_id: str, life: Life | None) -> QueueReplaced:
    """Makes the error for a request that speaks to a life that is not the current one."""
    return QueueReplaced(
        f"queue {name!r} with the id {queue_id!r} is over; "
        "leave out Queue-Id to speak to the current one",
        queue_id=life.id if life is not None else None,
    )
