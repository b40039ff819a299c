"""What the naive model remembers: plain lists and dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from batchq.model import CloseRequest, End, Limits, ProducerState, PullRequest, PushRequest


@dataclass(frozen=True)
class AnyOf:
    """The protocol allows each of these answers."""

    choices: tuple[object, ...]


Request = PushRequest | PullRequest | CloseRequest
Answer = object
"""A dataclass of the model, an error, or ``AnyOf``."""


LineState = Literal["ready", "leased", "held", "done"]
"""Held: given to a pull that then turns out to be cancelled."""


@dataclass
class Line:
    data: bytes
    position: int
    state: LineState = "ready"
    lease: str | None = None
    deliveries: int = 0


@dataclass
class Life:
    name: str
    id: str
    lines: list[Line] = field(default_factory=list)
    producers: dict[str, ProducerState] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    """Lease id to the moment at which it runs out."""
    handed: dict[str, int] = field(default_factory=dict)
    """Lease id to how often its lines were handed out on it."""
    closed: CloseRequest | None = None
    gone_at: float | None = None
    """When a drained or deleted life is forgotten."""
    refused: bool = False
    """A push did not fit, and no room was made since."""

    def in_state(self, state: str) -> list[Line]:
        return [line for line in self.lines if line.state == state]

    @property
    def total_bytes(self) -> int:
        return sum(len(line.data) for line in self.lines)

    @property
    def held_bytes(self) -> int:
        return sum(len(line.data) for line in self.lines if line.state != "done")

    @property
    def drained(self) -> bool:
        return self.closed is not None and self.held_bytes == 0

    def put_back(self, lease: str) -> None:
        del self.leases[lease]
        for line in self.lines:
            if line.lease == lease:
                line.state, line.lease = "ready", None

    def give_back(self, lease: str) -> None:
        """One that was handed the lines had left."""
        self.handed[lease] -= 1
        for line in self.lines:
            if line.lease == lease:
                line.deliveries -= 1
        if self.handed[lease] == 0:
            self.put_back(lease)

    def be_done(self, lease: str) -> None:
        del self.leases[lease]
        for line in self.lines:
            if line.lease == lease:
                line.state, line.lease = "done", None
        self.refused = False

    def end(self, producer: str | None = None, lost: tuple[str, ...] = ()) -> End:
        assert self.closed is not None
        return End(
            queue_id=self.id,
            lines=len(self.lines),
            bytes=self.total_bytes,
            digest=self.closed.digest,
            unterminated=self.closed.unterminated,
            producer=None if producer is None else self.producers.get(producer),
            lost=lost,
        )


@dataclass
class Waiter:
    """A request that is not answered yet."""

    ticket: int
    request: Request
    patience: float
    """Until when it would wait for room."""
    deadline: float
    lost: tuple[str, ...] = ()
    parked: bool = False
    """It was let in to wait for the batches before it."""
    joined: int | None = None
    """The ticket of the one that came first with the same number, while that was parked."""
    room: int | None = None
    """Its place among those that wait for room."""

    @property
    def size(self) -> int:
        return len(self.request.batch.data) if isinstance(self.request, PushRequest) else 0

    @property
    def place(self) -> int:
        """Equal for those that share one place among the parked."""
        return self.ticket if self.joined is None else self.joined

    def awaits_its_turn(self, request: PushRequest | CloseRequest) -> bool:
        """Whether it is the same batch, parked."""
        same = not isinstance(self.request, PullRequest) and (
            self.request.numbering == request.numbering
        )
        return same and self.parked and self.room is None


def cut(data: bytes) -> list[bytes]:
    """The lines of a payload, each with its newline."""
    return [piece + b"\n" for piece in data.split(b"\n")[:-1]]


def is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class State:
    """All there is, and what is answered."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.now = now
        self.lives: dict[str, Life] = {}
        self.records: dict[str, Life] = {}
        """Deleted lives that are still remembered, by id."""
        self.waiting: list[Waiter] = []
        self.answers: list[tuple[int, Answer]] = []
        self.leaving: int | None = None
        """The ticket of a pull that is cancelled as soon as it is answered."""
        self._count = 0
