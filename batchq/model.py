"""The vocabulary: what the server's parts say to each other.

Plain, frozen data without behaviour beyond what the fields imply. Times are
seconds, sizes are bytes, offsets count lines and positions count bytes from 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

MAX_INTEGER: Final = 2**53 - 1
"""Largest integer that goes over the wire: every JSON reader holds it exactly (RFC 8259, 6)."""

QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LEASE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
PRODUCER_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
DIGEST: Final = re.compile(r"xxh3-128:[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Batch:
    r"""Whole lines as one block of bytes.

    Attributes:
        data: the lines, each followed by ``\n``; empty for a batch of no lines.
        lines: how many there are.
    """

    data: bytes
    lines: int


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
    """What a life has of one producer.

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
class PushRequest:
    """One batch to append.

    Attributes:
        queue: the queue's name, valid by ``QUEUE_NAME``.
        batch: the lines.
        numbering: the producer's number, or None for a push that is not numbered.
        queue_id: the life that the caller speaks to, or None for the current one.
        wait: seconds to wait for room when the queue is full; 0 refuses at once.
    """

    queue: str
    batch: Batch
    numbering: Numbering | None = None
    queue_id: str | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """A batch is stored, as the store promises.

    Attributes:
        queue_id: the life it is stored in.
        duplicate: it had been stored before, and nothing was added now.
        offset: offset of the batch's first line (0 for a duplicate: not known any more).
        position: position of the batch's first byte (0 for a duplicate).
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
class PullRequest:
    """One batch to take.

    Attributes:
        queue: the queue's name.
        min: answer once this many lines are ready; at least 1.
        max: at most this many lines, or None for no limit; not below ``min``.
        max_bytes: at most this many payload bytes, but always at least one line.
        wait: seconds to wait; 0 asks once.
        partial: when the wait is over with fewer than ``min`` lines, whether they are given.
        lease: seconds to hold the lines for the reader, or None to be done with them when sent.
        lease_id: the reader's choice of an id for the lease, or None for the store's choice.
        ack: ids of leases to acknowledge first, each alone.
        queue_id: the life that the caller speaks to, or None for whichever comes.
        utf8: stop before the first line that is not UTF-8 (for forms that can't carry it).
    """

    queue: str
    min: int = 1
    max: int | None = None
    max_bytes: int = MIB
    wait: float = 0.0
    partial: bool = True
    lease: float | None = None
    lease_id: str | None = None
    ack: tuple[str, ...] = ()
    queue_id: str | None = None
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """Lines handed out and not yet acknowledged.

    Attributes:
        id: names it in ack, release and extend.
        seconds: how long it holds from now.
    """

    id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pulled:
    """Lines for a reader: one run of consecutive offsets.

    Attributes:
        queue_id: the life that they are of.
        offset: offset of the first line.
        position: position of its first byte.
        lines: how many lines.
        data: the payload.
        ready: lines left in the queue that are ready now.
        deliveries: how often the most often handed out of these lines was, this time included.
        lease: the lease that they are out on, or None when they are done with.
        lost: those of the request's ``ack`` that were unknown.
    """

    queue_id: str
    offset: int
    position: int
    lines: int
    data: bytes
    ready: int
    deliveries: int
    lease: Lease | None = None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nothing:
    """The wait is over and there is nothing to give.

    Attributes:
        queue_id: the current life, or None where the queue does not exist.
        lost: those of the request's ``ack`` that were unknown.
    """

    queue_id: str | None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CloseRequest:
    r"""The end of a queue, and what its writer counted.

    Attributes:
        queue: the queue's name.
        lines: the writer's count of lines, or None for not given.
        bytes: the writer's count of payload bytes, or None for not given.
        digest: ``xxh3-128:<hex>`` over the source's exact bytes, or None.
        unterminated: the source's last line had no ``\n`` (the queue added one).
        numbering: the producer's number for the close, or None.
        queue_id: the life that the caller speaks to, or None for the current one.
    """

    queue: str
    lines: int | None = None
    bytes: int | None = None
    digest: str | None = None
    unterminated: bool = False
    numbering: Numbering | None = None
    queue_id: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    r"""A closed queue's totals: no line will come any more.

    Attributes:
        queue_id: the life that ended.
        lines: lines that were pushed in it.
        bytes: payload bytes that were pushed in it.
        digest: the closer's digest, where it gave one.
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


PullAnswer = Pulled | Nothing | End


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
        stored_bytes: payload bytes that are held: ready, leased, not yet visible.
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
class Promise:
    """What a push that was answered 2xx survives.

    Attributes:
        level: the durability level's name.
        text: one sentence for people.
    """

    level: Literal["process", "disk", "disk-relaxed", "shared"]
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a store may hold.

    Attributes:
        queue_bytes: payload bytes that one queue may hold.
        queues: queues that may exist at once.
        producers: producers that one queue may know.
        leases: leases that one queue may have out: each costs about a KiB beside its lines.
        parked_batches: numbered batches ahead of their turn (or waiting for room) a queue may hold.
        parked_bytes: their payload bytes.
        parked_total_bytes: the same for all queues together.
        park_seconds: how long a batch waits for the gap before it to fill.
        keep_closed: seconds for which the record of an ended life is kept.
        lease_seconds: the longest lease that is given.
    """

    queue_bytes: int = GIB
    queues: int = 10_000
    producers: int = 1_000
    leases: int = 10_000
    parked_batches: int = 64
    parked_bytes: int = 64 * MIB
    parked_total_bytes: int = 512 * MIB
    park_seconds: float = 30.0
    keep_closed: float = 3600.0
    lease_seconds: float = 43_200.0
