"""Pushes and closes: tried at once; those that can't be stored yet wait here.

A batch ahead of its turn is parked in the server that got it, and tried again when its
producer has come so far. A push without room is tried again when there is room, in the
order they came to this server; between servers there is no order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from batchq.broker.state import ParkKey
from batchq.errors import BatchqError, ShuttingDown, Unavailable
from batchq.model import KIB, CloseRequest, End, Numbering, Pushed, PushRequest
from batchq.stores.redis import complaints, scripts
from batchq.stores.redis.hub import Hub, new_id
from batchq.stores.redis.readers import read_end
from batchq.stores.redis.slots import Place, PushCall, Slot
from batchq.stores.redis.state import read_producer

_log: Final = logging.getLogger("batchq.redis")


_ASK_FIRST = 64 * KIB
"""Bytes above which a batch that may be ahead of its turn is asked for before it is sent."""


class Writers:
    """Answers pushes and closes.

    Args:
        hub: the shared state.
        follow: sees to it that changes of a queue are heard of.
    """

    def __init__(self, hub: Hub, follow: Callable[[Slot], None]) -> None:
        self._hub = hub
        self._follow = follow

    async def push(self, request: PushRequest) -> Pushed:
        """Appends a batch: see the contract."""
        pushed: Pushed = await self._submit(request, request.wait)
        return pushed

    async def close(self, request: CloseRequest) -> End:
        """Closes a queue: see the contract."""
        end: End = await self._submit(request, 0.0)
        return end

    async def _submit(self, request: PushRequest | CloseRequest, wait: float) -> Any:
        hub = self._hub
        if hub.draining:
            raise complaints.shutting_down()
        slot = hub.slot(request.queue)
        future = asyncio.get_running_loop().create_future()
        call = PushCall(new_id(), future, request=request, patience=hub.now() + wait)
        slot.uses += 1
        hub.spawn(self._first(slot, call))
        try:
            return await future
        except asyncio.CancelledError:
            self._leave(slot, call)
            raise
        finally:
            slot.uses -= 1
            hub.tidy(slot)

    async def _first(self, slot: Slot, call: PushCall) -> None:
        await self._try(slot, call)
        self._after(slot)

    def _after(self, slot: Slot) -> None:
        """Looks after those that wait, after something may have changed."""
        if slot.parked or slot.room:
            self._follow(slot)
        self._hub.wake(slot)

    # Trying

    async def _try(self, slot: Slot, call: PushCall, *, first: bool = False) -> None:
        """Sends a call; answers it, or lets it wait.

        ``first``: it is the first of those that wait for room.
        """
        numbering = call.request.numbering
        try:
            if numbering is None:
                await self._send(slot, call, first=first)
                return
            async with slot.lane(numbering.producer):
                await self._send(slot, call, first=first)
        except BatchqError as error:
            call.answer(error)
        except Exception as error:
            call.answer(error)
            raise

    async def _send(self, slot: Slot, call: PushCall, *, first: bool) -> None:
        request = call.request
        behind = bool(slot.room) and not first
        probe = isinstance(request, PushRequest) and (
            (behind and call.size > 0) or self._may_be_ahead(slot, request)
        )
        life = slot.state.life
        known = slot.producers.get(request.numbering.producer) if request.numbering else None
        header = await self._ask(slot, call, behind=behind, probe=probe)
        if header["r"] == "go":
            header = await self._ask(slot, call, behind=behind, probe=False)
        if header["r"] == "create":
            life = await self._hub.create(slot)
            header = await self._ask(slot, call, behind=behind, probe=False, new=life)
            if header.get("garbage"):
                self._hub.spawn(self._hub.names.sweep(slot.name))
            if slot.state.life is None:
                await self._hub.names.remove(slot.name, life)
        if header["r"] == "ahead" and known is not None and slot.state.life == life:
            self._check_kept(slot, request, known, header["expected"])
        self._answer(slot, call, header)

    @staticmethod
    def _check_kept(
        slot: Slot, request: PushRequest | CloseRequest, known: tuple[int, int], expected: int
    ) -> None:
        """Notices that Redis has less of a producer than was known before it was asked.

        Raises:
            SequenceGap: so it is: a failover took a replica's word that had not heard all.
        """
        numbering = request.numbering
        if numbering is None or known[0] != numbering.epoch or expected > known[1]:
            return
        slot.producers.pop(numbering.producer, None)
        _log.error("queue %s: Redis lost batches that it had stored", slot.name)
        raise complaints.lost_batches(numbering, expected, slot.state.life)

    def _may_be_ahead(self, slot: Slot, request: PushRequest) -> bool:
        """Tells whether a large batch may be ahead of its turn, as far as is known here."""
        numbering = request.numbering
        if numbering is None or numbering.seq == 0 or len(request.batch.data) < _ASK_FIRST:
            return False
        known = slot.producers.get(numbering.producer)
        return known != (numbering.epoch, numbering.seq - 1)

    async def _ask(
        self, slot: Slot, call: PushCall, *, behind: bool, probe: bool, new: str | None = None
    ) -> dict[str, Any]:
        request, numbering, limits = call.request, call.request.numbering, self._hub.limits
        args: dict[str, Any] = {
            "op": call.op,
            "pin": request.queue_id,
            "producer": numbering.producer if numbering else None,
            "epoch": numbering.epoch if numbering else None,
            "seq": numbering.seq if numbering else None,
            "mp": limits.producers,
            "kc": int(limits.keep_closed * 1_000_000),
            "new": new,
        }
        data = None
        if isinstance(request, PushRequest):
            args |= {
                "lines": request.batch.lines,
                "size": len(request.batch.data),
                "behind": behind or None,
                "probe": probe or None,
            }
            data = None if probe else request.batch.data
            script = scripts.PUSH
        else:
            args |= {
                "lines": request.lines,
                "bytes": request.bytes,
                "digest": request.digest,
                "unterminated": request.unterminated,
            }
            script = scripts.CLOSE
        reply = await self._hub.call(slot, script, args, data)
        call.doubtful = call.doubtful or reply.doubtful
        if reply.header["r"] == "pushed" and numbering is None:
            self._hub.arrived(slot, call.op, doubtful=call.doubtful)
        return reply.header

    def _answer(  # noqa: C901  a table of answers
        self, slot: Slot, call: PushCall, header: dict[str, Any]
    ) -> None:
        """Answers a call, or lets it wait.

        Raises:
            BatchqError: the answer.
        """
        request, life = call.request, slot.state.life
        numbering = request.numbering
        match header["r"]:
            case "pushed" | "duplicate" | "end":
                self._stored(slot, call, header)
            case "ahead" if numbering is not None:
                self._park(slot, call, numbering, header["expected"])
            case "full" if isinstance(request, PushRequest):
                self._wait_for_room(slot, call, header["stored"])
            case "replaced":
                raise complaints.replaced(request.queue, request.queue_id, life)
            case "stale" if numbering is not None:
                raise complaints.stale(numbering, header["epoch"], life)
            case "closed":
                raise complaints.closed(request.queue, life)
            case "gap" if numbering is not None:
                raise complaints.not_a_close(numbering, header["expected"], life)
            case "too large":
                raise complaints.too_large(call.size, self._hub.limits.queue_bytes)
            case "producers":
                raise complaints.too_many_producers(self._hub.limits.producers, life)
            case "differ" if isinstance(request, CloseRequest):
                given = request.lines if header["what"] == "lines" else request.bytes
                raise complaints.totals_differ(
                    request.queue, given, header["what"], header["counted"], life
                )
            case other:
                raise TypeError(f"a push was answered with {other!r}")

    def _stored(self, slot: Slot, call: PushCall, header: dict[str, Any]) -> None:
        request, state = call.request, header.get("producer")
        life = header.get("id") or header["s"]["life"]
        if request.numbering is not None and state:
            self.advanced(slot, life, request.numbering.producer, (state["e"], state["s"]))
        if header["r"] == "end":
            call.answer(read_end(header))
        elif header["r"] == "duplicate":
            call.answer(Pushed(life, True, 0, 0, 0, read_producer(state)))
        else:
            lines = request.batch.lines if isinstance(request, PushRequest) else 0
            offset, position = header["offset"], header["position"]
            call.answer(Pushed(life, False, offset, position, lines, read_producer(state)))

    # Ahead of their turn

    def _park(self, slot: Slot, call: PushCall, numbering: Numbering, expected: int) -> None:
        self._leave_room(slot, call)
        key = (numbering.producer, numbering.epoch, numbering.seq)
        place = slot.parked.get(key)
        if place is not None:
            place.expected = expected
            if call not in place.calls:
                place.calls.append(call)
            return
        if not self._has_place(len(slot.parked), slot.parked_bytes, call.size):
            raise complaints.gap(numbering, expected, slot.state.life)
        hub = self._hub
        place = slot.parked[key] = Place([call], call.size, expected)
        place.timer = hub.timers.at(
            hub.now() + hub.limits.park_seconds, lambda _: self._gap_stayed(slot, key)
        )
        slot.parked_bytes += place.size
        hub.held_bytes += place.size
        hub.arm()

    def _unpark(self, slot: Slot, key: ParkKey) -> Place:
        place = slot.parked.pop(key)
        slot.parked_bytes -= place.size
        self._hub.held_bytes -= place.size
        self._hub.timers.cancel(place.timer)
        return place

    def _gap_stayed(self, slot: Slot, key: ParkKey) -> None:
        place = self._unpark(slot, key)
        epoch, seq = slot.producers.get(key[0], (-1, -1))
        expected = max(place.expected, seq + 1 if epoch == key[1] else 0)
        error = complaints.gap(Numbering(*key), expected, slot.state.life)
        for call in place.calls:
            call.answer(error)
        self._hub.tidy(slot)

    def advanced(self, slot: Slot, life: str, producer: str, now: tuple[int, int]) -> None:
        """Is told that a producer's batch, of this epoch and number, is stored in a life."""
        if slot.state.life == life and slot.producers.get(producer, (-1, -1)) < now:
            slot.producers[producer] = now

    def _is_due(self, slot: Slot, key: ParkKey, place: Place) -> bool:
        """Tells, from what is known, whether a parked batch would be answered."""
        producer, epoch, seq = key
        if place.due or slot.state.closed:
            return True
        known = slot.producers.get(producer)
        if known is None:
            return False
        return known[0] > epoch or (known[0] == epoch and known[1] + 1 >= seq)

    # Without room

    def _wait_for_room(self, slot: Slot, call: PushCall, stored: int) -> None:
        hub = self._hub
        if call in slot.room:
            return
        may_wait = call.patience > hub.now() and not call.over
        if not may_wait or not self._has_place(len(slot.room), slot.room_bytes, call.size):
            raise complaints.full(slot.name, stored, hub.limits.queue_bytes, slot.state.life)
        self._leave_place(slot, call)
        slot.room[call] = None
        slot.room_bytes += call.size
        hub.held_bytes += call.size
        call.timer = hub.timers.at(call.patience, lambda _: self._no_room(slot, call))
        hub.arm()

    def _leave_room(self, slot: Slot, call: PushCall) -> None:
        if call in slot.room:
            del slot.room[call]
            slot.room_bytes -= call.size
            self._hub.held_bytes -= call.size
            self._hub.timers.cancel(call.timer)

    def _no_room(self, slot: Slot, call: PushCall) -> None:
        call.over = True
        self._hub.wake(slot)

    def _has_place(self, calls: int, held: int, size: int) -> bool:
        limits = self._hub.limits
        return (
            calls < limits.parked_batches
            and held + size <= limits.parked_bytes
            and self._hub.held_bytes + size <= limits.parked_total_bytes
        )

    # Going on

    async def step(self, slot: Slot) -> bool:
        """Tries one of the calls that wait and may be answered now; tells whether there was one."""
        for key, place in slot.parked.items():
            if self._is_due(slot, key, place):
                await self._try_parked(slot, key, place)
                return True
        for call in slot.room:
            if call.over or slot.state.closed or self._is_known(slot, call):
                self._leave_room(slot, call)
                await self._try(slot, call)
                return True
        first = next(iter(slot.room), None)
        if first is not None and self._fits(slot, first):
            await self._try_first(slot, first)
            return first not in slot.room
        return False

    async def _try_parked(self, slot: Slot, key: ParkKey, place: Place) -> None:
        """Tries what is parked in a place; what is still ahead of its turn stays there."""
        place.due = False
        for call in list(place.calls):
            await self._try(slot, call)
        place.calls = [call for call in place.calls if not call.future.done()]
        if not place.calls and slot.parked.get(key) is place:
            self._unpark(slot, key)

    def _fits(self, slot: Slot, call: PushCall) -> bool:
        return slot.state.stored + call.size <= self._hub.limits.queue_bytes

    async def _try_first(self, slot: Slot, call: PushCall) -> None:
        """Tries the first of those that wait for room, which keeps its place if it fails."""
        await self._try(slot, call, first=True)
        if call.future.done():
            self._leave_room(slot, call)

    def _is_known(self, slot: Slot, call: PushCall) -> bool:
        """Tells whether a batch was stored meanwhile, or its writer fenced off."""
        numbering = call.request.numbering
        known = slot.producers.get(numbering.producer) if numbering is not None else None
        if numbering is None or known is None:
            return False
        return known >= (numbering.epoch, numbering.seq)

    def fail_overdue(self, slot: Slot, error: BatchqError) -> None:
        """Answers those whose wait is over: Redis is away."""
        for call in [call for call in slot.room if call.over]:
            self._leave_room(slot, call)
            call.answer(error)

    def recheck(self, slot: Slot) -> None:
        """Lets all be tried: something may have been missed."""
        for place in slot.parked.values():
            place.due = True

    def _leave(self, slot: Slot, call: PushCall) -> None:
        """Forgets a call whose caller has left."""
        self._leave_place(slot, call)
        self._leave_room(slot, call)
        self._hub.wake(slot)

    def _leave_place(self, slot: Slot, call: PushCall) -> None:
        for key, place in slot.parked.items():
            if call in place.calls:
                place.calls.remove(call)
                if not place.calls:
                    self._unpark(slot, key)
                return

    def over(self, slot: Slot) -> None:
        """Answers those that wait for something of a life that is over."""
        self.end(slot, complaints.deleted(slot.name, slot.state.life))

    def drain(self, slot: Slot) -> None:
        """Answers all that wait: the server is about to end."""
        self.end(slot, ShuttingDown("the server is shutting down; try again"))

    def end(self, slot: Slot, error: BatchqError) -> None:
        """Answers all that wait with an error."""
        for key in list(slot.parked):
            for call in self._unpark(slot, key).calls:
                call.answer(error)
        for call in list(slot.room):
            self._leave_room(slot, call)
            call.answer(error)


__all__ = ["Unavailable", "Writers"]
