"""What a store has to make durable, in the order that it was decided.

A change is decided by a verb and has no effect that anyone sees until the store has
committed it and says so by ``Broker.applied``. Its fields are all that a store needs
to write; ``tickets`` and such are the broker's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batchq.broker.log import Point, Span
from batchq.broker.state import Closing, LeaseState, Life, Ticket
from batchq.errors import BatchqError
from batchq.model import Batch, Numbering, ProducerState


@dataclass(slots=True, eq=False)
class Append:
    """Lines at the end of a life (none, for an empty batch).

    Attributes:
        life: where; its first change creates it.
        span: the offsets and positions that the lines got.
        batch: the lines.
        numbering: the producer's number.
        producer: the producer's state after it.
        tickets: who gets the answer; all but the first sent the batch again.
    """

    life: Life
    span: Span
    batch: Batch
    numbering: Numbering | None
    producer: ProducerState | None
    tickets: list[Ticket]


@dataclass(slots=True, eq=False)
class Close:
    """The end of a life's pushes.

    Attributes:
        life: which; this may create it.
        closing: how.
        producer: the closing producer's state after it.
        tickets: who gets the answer.
    """

    life: Life
    closing: Closing
    producer: ProducerState | None
    tickets: list[Ticket]


@dataclass(slots=True, eq=False)
class Consume:
    """Lines that a reader is done with.

    Attributes:
        life: whose.
        holds: the leases (or lines on their way out) that end.
        ticket: who gets the answer.
        error: what the ticket gets instead of the queue's id.
        put_back: the reader has left since: what undoes this once it is committed. A store
            that sees it in time writes nothing and says so by ``skipped``.
        skipped: set by the store, for ``applied``: nothing was written.
        committed: it is durable.
    """

    life: Life
    holds: tuple[LeaseState, ...]
    ticket: Ticket
    error: BatchqError | None = None
    put_back: PutBack | None = None
    skipped: bool = False
    committed: bool = False

    @property
    def spans(self) -> tuple[Span, ...]:
        """Which lines."""
        return tuple(hold.span for hold in self.holds)


@dataclass(slots=True, eq=False)
class PutBack:
    """Lines that were consumed without a lease, and whose reader left before it had them.

    Attributes:
        life: whose.
        hold: which lines.
        data: their bytes: the store may have removed them.
        ticket: who gets the answer.
    """

    life: Life
    hold: LeaseState
    data: bytes
    ticket: Ticket

    @property
    def span(self) -> Span:
        """Which lines."""
        return self.hold.span


@dataclass(slots=True, eq=False)
class Delete:
    """The end of a life with all it holds; its record is kept.

    Attributes:
        life: which.
        ticket: who gets the answer.
    """

    life: Life
    ticket: Ticket


@dataclass(slots=True, eq=False)
class Forget:
    """A drained life that was kept long enough (``life``), or the record of one that is over.

    Attributes:
        life: the life under a name, or None.
        record: the id of a life whose record is dropped, or None.
    """

    life: Life | None = None
    record: str | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Load:
    """Lines that a reader waits for, or soon will, and that are not in memory.

    Not a change: the store answers it with ``Broker.loaded``.

    Attributes:
        life: whose.
        start: where they begin.
        bytes: how many bytes of them at least, where there are as many; at least one line.
    """

    life: Life
    start: Point
    bytes: int


Change = Append | Close | Consume | PutBack | Delete | Forget
