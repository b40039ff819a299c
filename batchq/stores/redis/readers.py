"""Pulls: tried at once, and again whenever what they wait for may have come.

Those of one server are served in the order they came, each when its own condition holds;
between servers there is no order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from batchq import lines
from batchq.errors import BatchqError, Unavailable
from batchq.model import End, Lease, Nothing, PullAnswer, Pulled, PullRequest
from batchq.stores.redis import complaints, cuts, scripts
from batchq.stores.redis.ending import undisturbed
from batchq.stores.redis.errors import NotSent
from batchq.stores.redis.hub import Hub, new_id
from batchq.stores.redis.link import Reply
from batchq.stores.redis.slots import PullCall, Slot
from batchq.stores.redis.state import read_producer


class Readers:
    """Answers pulls.

    Args:
        hub: the shared state.
        follow: sees to it that changes of a queue are heard of.
    """

    def __init__(self, hub: Hub, follow: Callable[[Slot], None]) -> None:
        self._hub = hub
        self._follow = follow

    async def pull(self, request: PullRequest) -> PullAnswer:
        """Takes a batch: see the contract."""
        hub = self._hub
        slot = hub.slot(request.queue)
        if hub.draining:
            hub.tidy(slot)
            return Nothing(slot.state.life)
        call = PullCall(new_id(), asyncio.get_running_loop().create_future(), request=request)
        call.over = request.wait <= 0
        slot.waiters[call] = None
        if not call.over:
            call.timer = hub.timers.at(hub.now() + request.wait, lambda _: self._over(slot, call))
            hub.arm()
        if slot.pump is not None or slot.trying or slot.fates.gives_back:
            hub.wake(slot)  # others come before
        else:
            self._begin(slot, call)
            hub.spawn(self._first(slot, call))
        try:
            answer: PullAnswer = await call.future
        except asyncio.CancelledError:
            self._leave(slot, call)
            await undisturbed(hub.spawn(self._undo(slot, call)))
            raise
        except Exception:
            self._finish(slot, call)
            raise
        self._finish(slot, call)
        return replace(answer, lost=call.lost) if call.lost else answer

    def _finish(self, slot: Slot, call: PullCall) -> None:
        """Lets Redis know that a call is over."""
        if call.doubtful and not call.taken:
            lease = _lease_id(call) if call.request.lease is not None else None
            self._hub.give_up(slot, call.op, lease, doubtful=True)
        elif call.acked or (call.taken and call.request.lease is None):
            self._hub.arrived(slot, call.op, doubtful=call.doubtful)
        self._hub.tidy(slot)

    async def _undo(self, slot: Slot, call: PullCall) -> None:
        """Puts lines back that a call was given and whose caller has left."""
        if call.trying is not None:
            await call.trying.wait()
        if call.taken or call.doubtful or call.acked:
            lease = _lease_id(call) if call.request.lease is not None else None
            self._hub.give_up(slot, call.op, lease, doubtful=call.doubtful)
            try:
                await self._hub.look(slot)
            except Unavailable:
                self._hub.look_again(slot)
        self._hub.tidy(slot)

    # Trying

    async def _first(self, slot: Slot, call: PullCall) -> None:
        """Tries a call as it comes in; lets it wait if it may."""
        try:
            await self._try(slot, call)
        except Unavailable as error:
            self._settle(slot, call, error)
        if call in slot.waiters:
            self._follow(slot)
            self._hub.wake(slot)

    async def settle(self, slot: Slot) -> None:
        """Serves the waiting pulls that can be served.

        Raises:
            Unavailable: Redis is away.
        """
        for call in list(slot.waiters):
            if slot.fates.gives_back:
                # They are for the first who wants them.
                await self._hub.look(slot)
                slot.dirty = True
                return
            if call in slot.waiters and call.trying is None and self._wants(slot, call):
                self._begin(slot, call)
                try:
                    await self._try(slot, call)
                except Unavailable:
                    call.due = True
                    raise

    def fail_overdue(self, slot: Slot, error: BatchqError) -> None:
        """Answers all whose wait is over: Redis is away, and asking for each takes its time."""
        for call in list(slot.waiters):
            if call.over and call.trying is None:
                self._settle(slot, call, error)

    def _wants(self, slot: Slot, call: PullCall) -> bool:
        """Tells, from what is known, whether a pull would be answered."""
        state, request = slot.state, call.request
        if call.due or call.over or (request.queue_id not in {None, state.life}):
            return True
        if state.life is None:
            return False
        if state.run_lines == 0:
            return state.drained
        return (
            state.run_lines >= request.min
            or state.run_bytes >= request.max_bytes
            or not state.grow
            or bool(slot.room)
        )

    def _begin(self, slot: Slot, call: PullCall) -> None:
        call.trying = asyncio.Event()
        slot.trying += 1

    async def _try(self, slot: Slot, call: PullCall) -> None:
        """Asks Redis for a call; answers it if there is an answer."""
        over = call.over
        call.due = False
        answer: PullAnswer | BatchqError | None
        try:
            reply = await self._ask(slot, call)
            answer = self._answer(slot, call, reply, over=over)
        except Unavailable:
            raise
        except BatchqError as error:
            answer = error
        except Exception as error:
            call.doubtful = True
            self._settle(slot, call, error)
            raise
        finally:
            trying, call.trying = call.trying, None
            slot.trying -= 1
            if trying is not None:
                trying.set()  # who waits for it goes on after what follows
        if answer is not None:
            self._settle(slot, call, answer)

    async def _ask(self, slot: Slot, call: PullCall) -> Reply:
        """Asks until there is an answer: a cut that lost a race is made anew."""
        args, at_hand = self._args(call), b""
        while True:
            reply = await self._send(slot, call, args)
            header, pieces = reply.header, reply.pieces
            args = {**args, "ack": None}
            if header["r"] == "cut":
                found = cuts.find_cut(header, pieces[0])
                if found is None:
                    args |= {"cut": None, "win": cuts.wider(pieces[0])}
                    continue
                at_hand = pieces[0][: found[1]]
                args["cut"] = cuts.place(header, *found)
            elif header["r"] == "peek":
                size = header["stop_position"] - header["position"]
                if sum(map(len, pieces)) < size:
                    pieces.append(at_hand)
                args["peek"] = None
                at_hand, args["cut"] = _until_not_utf8(header, b"".join(pieces))
            else:
                if header["r"] == "lines" and sum(map(len, pieces)) < header["b"]:
                    pieces.append(at_hand)
                return reply

    async def _send(self, slot: Slot, call: PullCall, args: dict[str, Any]) -> Reply:
        try:
            reply = await self._hub.call(slot, scripts.PULL, args)
        except NotSent:
            raise
        except Unavailable:
            call.doubtful = True
            raise
        call.doubtful = call.doubtful or reply.doubtful
        if args["ack"] is not None:
            call.acked = True
            call.lost = tuple(reply.header.get("lost") or ())
        return reply

    def _args(self, call: PullCall) -> dict[str, Any]:
        request = call.request
        lease = request.lease
        if lease is not None:
            lease = min(lease, self._hub.limits.lease_seconds)
        return {
            "op": call.op,
            "pin": request.queue_id,
            "min": request.min,
            "max": request.max,
            "mb": request.max_bytes,
            "partial": request.partial,
            "over": call.over,
            "lease": int(lease * 1_000_000) if lease is not None else None,
            "lid": _lease_id(call),
            "ml": self._hub.limits.leases,
            "ack": list(dict.fromkeys(request.ack)) if not call.acked and request.ack else None,
            "peek": request.utf8 or None,
        }

    def _answer(
        self, slot: Slot, call: PullCall, reply: Reply, *, over: bool
    ) -> PullAnswer | BatchqError | None:
        header, request = reply.header, call.request
        what = header["r"]
        if what == "wait":
            return Nothing(slot.state.life) if over else None
        if what == "end":
            return read_end(header)
        if what == "replaced":
            return complaints.replaced(request.queue, request.queue_id, slot.state.life)
        if what == "too many leases":
            limit = self._hub.limits.leases
            return complaints.too_many_leases(request.queue, limit, slot.state.life)
        lease = None
        if request.lease is not None:
            seconds = min(request.lease, self._hub.limits.lease_seconds)
            lease = Lease(_lease_id(call), seconds)
        pieces = reply.pieces
        return Pulled(
            queue_id=header["id"],
            offset=header["offset"],
            position=header["position"],
            lines=header["n"],
            data=pieces[0] if len(pieces) == 1 else b"".join(pieces),
            ready=header["ready"],
            deliveries=header["deliveries"],
            lease=lease,
        )

    # Ending

    def _settle(self, slot: Slot, call: PullCall, answer: PullAnswer | Exception) -> None:
        self._leave(slot, call)
        call.taken = isinstance(answer, Pulled)
        call.answer(answer)
        if isinstance(answer, Pulled) and answer.lease is not None:
            self.twins(slot, answer.lease.id)

    def twins(self, slot: Slot, lease: str) -> None:
        """Lets waiting retries of a pull be tried: it was answered."""
        for call in slot.waiters:
            if call.request.lease_id == lease:
                call.due = True
                self._hub.wake(slot)

    def _leave(self, slot: Slot, call: PullCall) -> None:
        slot.waiters.pop(call, None)
        self._hub.timers.cancel(call.timer)

    def _over(self, slot: Slot, call: PullCall) -> None:
        call.over = True
        self._hub.wake(slot)

    def drain(self, slot: Slot) -> None:
        """Answers waiting pulls with nothing: the server is about to end."""
        for call in list(slot.waiters):
            if call.trying is None:
                self._settle(slot, call, Nothing(slot.state.life))
            else:
                call.over = True

    def end(self, slot: Slot, error: BatchqError) -> None:
        """Answers all pulls: the server ends."""
        for call in list(slot.waiters):
            self._settle(slot, call, error)

    def over(self, slot: Slot) -> None:
        """Is told that a life is over: those that pinned it are tried (see ``_wants``)."""


def read_end(header: dict[str, Any]) -> End:
    """Reads what ``end_of`` in ``lua/prelude.lua`` tells."""
    return End(
        queue_id=header["id"],
        lines=header["lines"],
        bytes=header["bytes"],
        digest=header.get("digest"),
        unterminated=header.get("unterminated") or False,
        producer=read_producer(header.get("producer")),
    )


def _lease_id(call: PullCall) -> str:
    return call.request.lease_id or call.op


def _until_not_utf8(header: dict[str, Any], data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Gives the lines before the first that is not UTF-8, and the place where they end.

    Raises:
        NotAcceptable: there are none.
    """
    size = lines.valid_utf8(data)
    if size == 0:
        raise complaints.not_utf8(header["offset"], header["id"])
    cut = cuts.place(header, lines.count(memoryview(data)[:size]), size)
    if size == len(data):
        cut["block"] = header["stop_block"]
    return data[:size], cut


__all__ = ["Readers", "read_end"]
