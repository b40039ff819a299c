"""Pushes that wait: for the batches before them, or for room in a full queue.

Keeps them and counts what they hold; when they go on is decided in ``writers``.
"""

from __future__ import annotations

from collections.abc import Callable

from batchq.broker.hub import Hub
from batchq.broker.state import Life, Parked, ParkKey, Slot
from batchq.errors import SequenceGap
from batchq.model import Numbering


class Parking:
    """Keeps waiting pushes.

    Args:
        hub: the shared state.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # Ahead of their turn

    def park(self, now: float, slot: Slot, call: Parked, numbering: Numbering) -> None:
        """Keeps a batch until those before it are stored, or ``park_seconds`` are over.

        Raises:
            SequenceGap: there is no place for it.
        """
        key = (numbering.producer, numbering.epoch, numbering.seq)
        twin = slot.parked.get(key)
        if twin is not None:
            _join(twin, call)
            return
        if not self._has_place(len(slot.parked), slot.parked_bytes, call.size):
            raise _gap(slot, numbering)
        call.timer = self._hub.timers.at(
            now + self._hub.limits.park_seconds, lambda _at: self._gap_stayed(slot, key)
        )
        slot.parked[key] = call
        slot.parked_bytes += call.size
        self._hub.held_bytes += call.size

    def pop(self, slot: Slot, key: ParkKey) -> Parked:
        """Takes a parked batch out."""
        call = slot.parked.pop(key)
        slot.parked_bytes -= call.size
        self._hub.held_bytes -= call.size
        self._hub.timers.cancel(call.timer)
        return call

    def _gap_stayed(self, slot: Slot, key: ParkKey) -> None:
        call = self.pop(slot, key)
        numbering = call.request.numbering
        if numbering is not None:
            self._hub.answer_all(call.everyone, _gap(slot, numbering))
        self._hub.tidy(slot)

    # Without room

    def has_place_for_room(self, slot: Slot, size: int) -> bool:
        """Tells whether another batch of this size may wait for room."""
        return self._has_place(len(slot.for_room), slot.room_bytes, size)

    def wait_for_room(self, slot: Slot, call: Parked, at_deadline: Callable[[float], None]) -> None:
        """Keeps a batch until there is room, or its deadline has come."""
        call.timer = self._hub.timers.at(call.deadline, at_deadline)
        slot.for_room[call.tickets[0]] = call
        slot.room_bytes += call.size
        self._hub.held_bytes += call.size

    def leave_room(self, slot: Slot, call: Parked) -> None:
        """Takes a batch out that waits for room."""
        for ticket, waiting in slot.for_room.items():
            if waiting is call:
                del slot.for_room[ticket]
                break
        slot.room_bytes -= call.size
        self._hub.held_bytes -= call.size
        self._hub.timers.cancel(call.timer)

    def _has_place(self, calls: int, held: int, size: int) -> bool:
        """Tells whether another batch of this size may wait beside those that do."""
        limits = self._hub.limits
        return (
            calls < limits.parked_batches
            and held + size <= limits.parked_bytes
            and self._hub.held_bytes + size <= limits.parked_total_bytes
        )


def expected_seq(life: Life | None, numbering: Numbering) -> int:
    """The sequence number that is next for a producer, in an epoch that is not stale."""
    producer = life.producers.get(numbering.producer) if life is not None else None
    return producer.next_seq(numbering.epoch) if producer is not None else 0


def _join(twin: Parked, call: Parked) -> None:
    """Lets a call wait with another one of the same number."""
    for other in (twin, *twin.rivals):
        if type(other.request) is type(call.request):
            other.tickets.extend(call.tickets)
            return
    twin.rivals.append(call)


def _gap(slot: Slot, numbering: Numbering) -> SequenceGap:
    expected = expected_seq(slot.life, numbering)
    return SequenceGap(
        f"batch {numbering.seq} came, but {expected} is next for producer "
        f"{numbering.producer!r} in epoch {numbering.epoch}; resend from there",
        expected=expected,
        received=numbering.seq,
        queue_id=slot.life.id if slot.life is not None else None,
    )
