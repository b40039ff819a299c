"""What a broker remembers: names, lives, producers, leases, and who waits.

Data with the few questions that it alone can answer. The rules are in ``writers``
and ``readers``.

A life has two tails: ``staged`` is decided, ``tail`` is committed. Between the two
are lines that no reader sees yet. The same holds for producers and for the close.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchq.broker.log import ORIGIN, Log, Point, Span
from batchq.broker.ready import Ready, Run
from batchq.broker.timers import Timer
from batchq.model import (
    CloseRequest,
    End,
    Numbering,
    ProducerState,
    PullAnswer,
    Pulled,
    PullRequest,
    Pushed,
    PushRequest,
)

if TYPE_CHECKING:
    from batchq.broker.changes import Append, Close, Consume


class Ticket:
    """Names one call until it is answered; the caller of the broker may subclass it."""

    __slots__ = ()


Answer = PullAnswer | Pushed | str
"""A verb's result: ``str`` is a queue's id."""


@dataclass(frozen=True, slots=True)
class Held:
    """Lines for a reader.

    On a lease they are the reader's as they are; ``give_back`` undoes it. Without one they
    are its own once ``finish`` was answered and the caller has said ``taken``; until
    ``finish`` is said, ``give_back`` undoes it, from then on ``recall``.
    """

    pulled: Pulled
    queue: str
    hold: LeaseState


@dataclass(frozen=True, slots=True)
class Closing:
    """How a life was closed."""

    digest: str | None
    unterminated: bool
    numbering: Numbering | None


@dataclass(slots=True, eq=False)
class LeaseState:
    """Lines that are out.

    Attributes:
        id: the lease's id; None while lines without a lease are on their way out.
        life: where they belong.
        runs: which lines, consecutive ones, and how often they had been handed out before.
        times: how often they were handed out on this lease.
        timer: when they go back, or None for lines without a lease.
        consume: what makes lines without a lease gone, from ``finish`` until they are taken.
    """

    id: str | None
    life: Life
    runs: tuple[Run, ...]
    times: int = 1
    timer: Timer | None = None
    consume: Consume | None = None

    @property
    def span(self) -> Span:
        """Which lines."""
        return Span(self.runs[0].span.start, self.runs[-1].span.end)

    @property
    def deliveries(self) -> int:
        """How often the most often handed out of them was, this lease included."""
        return max(run.deliveries for run in self.runs) + self.times


@dataclass(slots=True, eq=False)
class Producer:
    """One writer in one life: what is committed, what is decided, and what lies between.

    Attributes:
        committed: None until its first batch is committed.
        staged: None until its first batch is decided.
        pending: what is decided and not yet committed, by epoch and sequence number.
    """

    committed: ProducerState | None = None
    staged: ProducerState | None = None
    pending: dict[tuple[int, int], Append | Close] = field(default_factory=dict)

    def next_seq(self, epoch: int) -> int:
        """The sequence number that is taken next in an epoch that is not stale."""
        if self.staged is None or epoch > self.staged.epoch:
            return 0
        return self.staged.seq + 1


@dataclass(slots=True, eq=False)
class Life:
    """A queue from its first push or close to its deletion or expiry.

    Attributes:
        id: the ``Queue-Id``.
        name: the queue's name.
        born: its first change is committed.
        staged, tail: the decided and the committed end.
        log: the lines that are held.
        ready: which of them a pull may take.
        leases: lines out on leases, by id.
        out_lines: lines that are out in any way: leased, on their way, being acknowledged or
            put back.
        leased_lines: those of them on leases.
        stored: payload bytes held, decided ones included.
        refused: a push found no room, and none has been made since.
        producers: by producer id.
        closing: how it was closed, decided.
        closed: the same, committed.
        expiry: when a drained life is forgotten.
        loading: lines are being brought to memory.
        awaited: the first waiter, and so all behind it, waits for lines that are loading.
        over: its end is committed: nothing of it is held any more.
    """

    id: str
    name: str
    born: bool = False
    staged: Point = ORIGIN
    tail: Point = ORIGIN
    log: Log = field(default_factory=Log)
    ready: Ready = field(default_factory=Ready)
    leases: dict[str, LeaseState] = field(default_factory=dict)
    out_lines: int = 0
    leased_lines: int = 0
    stored: int = 0
    refused: bool = False
    producers: dict[str, Producer] = field(default_factory=dict)
    closing: Closing | None = None
    closed: Closing | None = None
    expiry: Timer | None = None
    loading: bool = False
    awaited: bool = False
    over: bool = False

    @property
    def drained(self) -> bool:
        """Closed, with no line left and none out."""
        return self.closed is not None and self.ready.lines == 0 and self.out_lines == 0

    def end(self, producer: ProducerState | None = None) -> End:
        """The totals of a life that is closed."""
        closed = self.closed
        return End(
            queue_id=self.id,
            lines=self.tail.offset,
            bytes=self.tail.position,
            digest=closed.digest if closed else None,
            unterminated=closed.unterminated if closed else False,
            producer=producer,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a life that is over.

    Attributes:
        name: the queue's name.
        end: its totals.
        closed, drained: how it ended.
        producers: what it had of each producer.
    """

    name: str
    end: End
    closed: bool
    drained: bool
    producers: dict[str, ProducerState]

    def knows(self, numbering: Numbering) -> bool:
        """Tells whether this batch was stored in that life."""
        state = self.producers.get(numbering.producer)
        if state is None or numbering.epoch > state.epoch:
            return False
        return numbering.epoch == state.epoch and numbering.seq <= state.seq


@dataclass(slots=True, eq=False)
class Waiter:
    """A pull that waits.

    Attributes:
        ticket: who asked.
        request: for what.
        timer: when its wait is over.
        over: its wait is over; it stays in its place until lines are in memory.
    """

    ticket: Ticket
    request: PullRequest
    timer: Timer | None = None
    over: bool = False


@dataclass(slots=True, eq=False)
class Parked:
    """A push or a numbered close that waits: for the batches before it, or for room.

    Attributes:
        request: what is to be done.
        tickets: who asked for it; the first gets the answer, the others sent it again.
        deadline: when waiting for room ends.
        timer: when waiting for the gap to fill, or for room, ends.
        rivals: what bears the same number and is something else: a push beside a close.
    """

    request: PushRequest | CloseRequest
    tickets: list[Ticket]
    deadline: float
    timer: Timer | None = None
    rivals: list[Parked] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Payload bytes held."""
        return len(self.request.batch.data) if isinstance(self.request, PushRequest) else 0

    @property
    def everyone(self) -> list[Ticket]:
        """All who wait, rivals included."""
        return self.tickets + [ticket for rival in self.rivals for ticket in rival.tickets]


ParkKey = tuple[str, int, int]
"""Producer, epoch, sequence number."""


@dataclass(slots=True, eq=False)
class Slot:
    """A queue's name: its current life, if there is one, and all who wait for something of it.

    Attributes:
        name: the queue's name.
        life: the current life, decided.
        waiters: waiting pulls, in the order they came.
        min_lines, min_bytes: no waiter is content with fewer ready lines and fewer bytes.
        by_lease: waiters that chose a lease id, by that id.
        over: how many waiters' wait is over.
        parked: numbered batches ahead of their turn.
        for_room: pushes that wait for room, in the order they came.
        parked_bytes: payload bytes that are parked.
        room_bytes: payload bytes that wait for room.
    """

    name: str
    life: Life | None = None
    waiters: dict[Ticket, Waiter] = field(default_factory=dict)
    min_lines: int = 0
    min_bytes: int = 0
    by_lease: dict[str, list[Waiter]] = field(default_factory=dict)
    over: int = 0
    parked: dict[ParkKey, Parked] = field(default_factory=dict)
    for_room: dict[Ticket, Parked] = field(default_factory=dict)
    parked_bytes: int = 0
    room_bytes: int = 0

    @property
    def idle(self) -> bool:
        """Nothing is known of this name, and nobody waits."""
        return self.life is None and not (self.waiters or self.parked or self.for_room)
