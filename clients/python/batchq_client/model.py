"""What the server says, as plain data.

Times are seconds, sizes are bytes, offsets count lines and positions count bytes from 0.
The meaning of every field is that of docs/reference/protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Numbering:
    """A producer's number for one batch (or for its close).

    Attributes:
        producer: the writer's id, 1-128 visible ASCII characters.
        epoch: the writer's incarnation; a higher one fences off the lower ones.
        seq: the batch's number within the epoch, from 0 without gaps.
    """

    producer: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class ProducerState:
    """What a queue's life has of one producer.

    Attributes:
        epoch: the epoch in force.
        seq: the highest sequence number stored in that epoch.
        lines: lines stored in this life, over all epochs.
        bytes: payload bytes stored in this life, over all epochs.
    """

    epoch: int
    seq: int
    lines: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Pushed:
    """A batch is stored, as the server's store promises.

    Attributes:
        queue_id: the life it is stored in.
        duplicate: it had been stored before; offset, position and lines are then 0.
        offset: offset of the batch's first line.
        position: position of the batch's first byte.
        lines: lines in the batch.
        producer: the producer's state after it, where the push was numbered.
    """

    queue_id: str
    duplicate: bool
    offset: int
    position: int
    lines: int
    producer: ProducerState | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """Lines: one run of consecutive offsets.

    Attributes:
        queue_id: the life that they are of.
        offset: offset of the first line.
        position: position of its first byte.
        lines: how many lines.
        data: the payload.
        ready: lines left in the queue that are ready now.
        deliveries: how often the most often handed out of these lines was, this time included.
        lease: id of the lease that they are out on, or None when the queue is done with them.
        lease_seconds: how long the lease holds from now, or None.
        lost: those of the request's ``ack`` that were unknown.
    """

    queue_id: str
    offset: int
    position: int
    lines: int
    data: bytes = field(repr=False)
    ready: int = 0
    deliveries: int = 1
    lease: str | None = None
    lease_seconds: float | None = None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nothing:
    """The wait is over and there was nothing to give.

    Attributes:
        queue_id: the current life, or None where the queue does not exist.
        lost: those of the request's ``ack`` that were unknown.
    """

    queue_id: str | None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    r"""A closed queue's totals: no line will come any more.

    Attributes:
        queue_id: the life that ended.
        lines: lines that were pushed in it.
        bytes: payload bytes that were pushed in it.
        digest: ``xxh3-128:<hex>`` over the source's exact bytes, where the closer gave it.
        unterminated: the closer's word that the last line had no ``\n``.
        producer: the closing producer's state, in the answer to its numbered close.
        lost: those of the request's ``ack`` that were unknown.
    """

    queue_id: str
    lines: int
    bytes: int
    digest: str | None = None
    unterminated: bool = False
    producer: ProducerState | None = None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue as ``GET /queues`` shows it.

    Attributes:
        queue: its name.
        queue_id: its life.
        lines: lines pushed in this life.
        bytes: payload bytes pushed in this life.
        ready_lines: lines that a pull could take now.
        ready_bytes: their payload bytes.
        leased_lines: lines that are out on leases.
        leases: how many leases are out.
        stored_bytes: payload bytes that are held.
        waiting_pulls: pulls that wait.
        parked_pushes: numbered batches ahead of their turn, and pushes that wait for room.
        producers: how many producers are known.
        closed: no more pushes.
        drained: closed, with no line left and no lease out.
        digest: the closer's digest.
        unterminated: the closer's word on the last line.
    """

    queue: str
    queue_id: str
    lines: int
    bytes: int
    ready_lines: int
    ready_bytes: int
    leased_lines: int
    leases: int
    stored_bytes: int
    waiting_pulls: int
    parked_pushes: int
    producers: int
    closed: bool
    drained: bool
    digest: str | None = None
    unterminated: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """What ``GET /healthz`` says.

    Attributes:
        status: ``"ok"``.
        version: the server's.
        level: what a push that was answered survives.
        promise: the same as a sentence.
        max_body: bytes of the largest body that the server takes, where it says so.
        max_queue_bytes: payload bytes that one of its queues may hold, where it says so.
        max_wait: seconds that it lets a request wait at most, where it says so.
        fields: all that it said.
    """

    status: str
    version: str
    level: str
    promise: str
    max_body: int | None
    max_queue_bytes: int | None
    max_wait: float | None
    fields: dict[str, Any]
