"""What a broker takes over from an earlier process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchq.broker.hub import Hub
from batchq.broker.log import Point, Span
from batchq.broker.state import Closing, Life, Producer, Record
from batchq.model import End, ProducerState


@dataclass(frozen=True, slots=True)
class Kept:
    """A life, or the record of one that is over, as it was committed.

    Attributes:
        id: the ``Queue-Id``.
        name: the queue's name.
        tail: its committed end.
        spans: the lines that are not done with: disjoint, in order; none of a record.
        producers: by producer id.
        closed: how it was closed, or None.
        over: only its record is kept.
        drained: closed, with all lines done with.
        expires_in: seconds until it is to be forgotten, where it is drained or a record.
    """

    id: str
    name: str
    tail: Point
    spans: Sequence[Span]
    producers: Mapping[str, ProducerState]
    closed: Closing | None
    over: bool
    drained: bool
    expires_in: float


def restore_life(hub: Hub, kept: Kept) -> Life | None:
    """Takes over a life, and gives it; or the record of one, and gives None."""
    if kept.over:
        hub.records[kept.id] = Record(
            name=kept.name,
            end=_end(kept),
            closed=kept.closed is not None,
            drained=kept.drained,
            producers=dict(kept.producers),
        )
        return None
    slot = hub.slot(kept.name)
    life = slot.life = hub.make_life(kept.id, kept.name)
    hub.lives += 1
    life.born = True
    life.staged = life.tail = kept.tail
    life.closing = life.closed = kept.closed
    life.log.restore(kept.spans, kept.tail)
    for span in kept.spans:
        life.ready.put(span, 0)
        life.stored += span.bytes
    for name, state in kept.producers.items():
        life.producers[name] = Producer(committed=state, staged=state)
    return life


def _end(kept: Kept) -> End:
    closed = kept.closed
    return End(
        queue_id=kept.id,
        lines=kept.tail.offset,
        bytes=kept.tail.position,
        digest=closed.digest if closed is not None else None,
        unterminated=closed.unterminated if closed is not None else False,
    )
