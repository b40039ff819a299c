"""How decisions are taken back that could not be made durable.

Nobody has seen them, so they are undone as if they had never been made; the calls get
an error. What was decided last is undone first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from batchq.broker.changes import Append, Change, Close, Consume, Delete, Forget, PutBack
from batchq.broker.hub import Hub
from batchq.broker.leases import Leases
from batchq.broker.readers import Readers
from batchq.broker.state import Life, Slot
from batchq.broker.writers import Writers
from batchq.errors import BatchqError

_FORGET_AGAIN: Final = 60.0
"""Seconds after which forgetting is tried again."""


def undo(
    hub: Hub, leases: Leases, now: float, changes: Sequence[Change], error: BatchqError
) -> list[Slot]:
    """Takes changes back; gives the names that have a changed life.

    With a push or close of a life, all that are decided for it have to be among them.
    """
    touched: dict[str, None] = {}
    for change in reversed(changes):
        match change:
            case Append() | Close():
                _undo_push(hub, change)
                hub.answer_all(change.tickets, error)
                touched[change.life.name] = None
            case Consume():
                leases.unconsume(now, change, error)
                touched[change.life.name] = None
            case PutBack():
                leases.unrestore(now, change, error)
            case Delete():
                _undo_delete(hub, change.life)
                hub.answer(change.ticket, error)
                touched[change.life.name] = None
            case Forget():
                _forget_again(hub, now, change)
    return [hub.slots[name] for name in touched if name in hub.slots]


def _undo_push(hub: Hub, change: Append | Close) -> None:
    life = change.life
    if isinstance(change, Append):
        life.stored -= change.span.bytes
    else:
        life.closing = life.closed
    life.staged = life.tail
    for name, producer in list(life.producers.items()):
        producer.pending.clear()
        producer.staged = producer.committed
        if producer.committed is None:
            del life.producers[name]
    slot = hub.slots.get(life.name)
    if not life.born and slot is not None and slot.life is life:
        hub.end_life(slot)


def _undo_delete(hub: Hub, life: Life) -> None:
    slot = hub.slot(life.name)
    if slot.life is None:
        slot.life = life
        hub.lives += 1


def _forget_again(hub: Hub, now: float, change: Forget) -> None:
    again = Forget(life=change.life, record=change.record)
    hub.timers.at(now + _FORGET_AGAIN, lambda _at: hub.stage(again))


def fail_waits(readers: Readers, writers: Writers, slot: Slot, error: BatchqError) -> None:
    """Answers all who wait for something of a name with an error."""
    readers.fail(slot, error)
    writers.fail(slot, error)
