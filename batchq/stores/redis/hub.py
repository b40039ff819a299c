"""What the halves of the store share: calls to Redis, what they tell, and deadlines."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from batchq.broker.timers import Timers
from batchq.errors import BatchqError, StoreUnavailable, TooManyQueues, Unavailable
from batchq.model import Limits
from batchq.stores.redis import scripts
from batchq.stores.redis.ending import end
from batchq.stores.redis.keys import Keys
from batchq.stores.redis.link import Link, Reply
from batchq.stores.redis.names import Names
from batchq.stores.redis.scripts import Script
from batchq.stores.redis.slots import Slot
from batchq.stores.redis.state import Order, State, order, read_state

_log: Final = logging.getLogger("batchq.redis")

_FLUSH_SECONDS: Final = 0.2
"""Seconds after which Redis is told that answers have arrived, where no other call tells it."""

_AGAIN_SECONDS: Final = 0.5
"""Seconds after which a queue with waiting calls is looked at again while Redis is away."""

_MOST_SEEN: Final = 20_000
"""Queues of which it is remembered how far they were seen."""

_NOTED_SECONDS: Final = 600.0
"""Seconds after which the name of a queue that is in use is noted again."""

_ROUNDING: Final = 1e-6
"""Seconds by which a timer may come early: the loop's clock and ours differ by rounding."""


class Hub:
    """The shared state of one server.

    Args:
        link: the way to Redis.
        keys: names of keys.
        limits: how much may be held.
        clock: seconds, for deadlines.

    Attributes:
        me: this server's name among those that share the queues.
        slots: queues that something is known of, by name.
        timers: all deadlines.
        held_bytes: payload bytes of all calls that wait.
        draining: the server is about to end.
        announced: how many servers were told of changes made here, each time counted.
        on_wake: looks at the calls that wait for a queue.
        on_over: is told of a life that is over.
        on_idle: is told of a queue that nobody waits for any more.
        on_reply: is told of a queue that Redis has answered for.
    """

    def __init__(
        self, link: Link, keys: Keys, limits: Limits, clock: Callable[[], float] | None
    ) -> None:
        self.link = link
        self.keys = keys
        self.limits = limits
        self.names = Names(link, keys, limits)
        self.me = new_id()
        self.slots: dict[str, Slot] = {}
        self.timers = Timers()
        self.held_bytes = 0
        self.draining = False
        self.announced = 0
        self.on_wake: Callable[[Slot], Coroutine[Any, Any, None]]
        self.on_over: Callable[[Slot], None]
        self.on_idle: Callable[[Slot], None]
        self.on_reply: Callable[[Slot], None]
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False
        self._seen: dict[str, tuple[str, int, str | None]] = {}
        self._count = 0
        self._noted: dict[str, tuple[str, float]] = {}
        self._check_after = 0.0

    # Calls

    async def call(
        self, slot: Slot, script: Script, args: dict[str, Any], data: bytes | None = None
    ) -> Reply:
        """Runs a script on a queue, and learns what it tells.

        Raises:
            Unavailable: Redis is away; the call may be sent again.
        """
        word = slot.fates.take(ending=slot.state.urgent)
        common: dict[str, Any] = {
            "from": self.me,
            "qb": self.limits.queue_bytes,
            "full": bool(slot.room) or None,
            "seen": self._seen.get(slot.name),
            "fresh": new_id(),
            "done": word.done or None,
            "void": word.void or None,
        }
        slot.uses += 1
        self._count += 1
        sent = self._count
        try:
            reply = await self.link.run(script, slot.key, common | args, data)
        except BaseException:
            slot.fates.not_told(word)
            raise
        finally:
            slot.uses -= 1
        slot.fates.told(word)
        self.announced += reply.header.get("told", 0)
        self.learn(slot, reply.header["s"], sent)
        self.on_reply(slot)
        return reply

    def arrived(self, slot: Slot, op: str, *, doubtful: bool) -> None:
        """Lets Redis forget a call: its answer has arrived, and no copy is on its way."""
        if doubtful:
            return
        slot.fates.done.append(op)
        if slot.state.urgent or slot.waited_for:
            self.spawn(self._look(slot))
        else:
            self.flush_soon(slot)

    def give_up(self, slot: Slot, op: str, lease: str | None, *, doubtful: bool) -> None:
        """Undoes a pull whose lines, if there are any, nobody wants."""
        slot.fates.void.append((op, lease, doubtful))
        self.flush_soon(slot)

    def flush_soon(self, slot: Slot) -> None:
        """Sees to it that a queue is called within a short time."""
        if slot.again is None:
            slot.again = self.timers.at(self.now() + _FLUSH_SECONDS, lambda _: self._again(slot))
            self.arm()

    def look_again(self, slot: Slot) -> None:
        """Sees to it that a queue is looked at again: Redis was away."""
        slot.stale = True
        if slot.again is None:
            slot.again = self.timers.at(self.now() + _AGAIN_SECONDS, lambda _: self._again(slot))
            self.arm()

    def _again(self, slot: Slot) -> None:
        slot.again = None
        if slot.waited_for and slot.stale:
            self.wake(slot)
        elif slot.fates:
            self.spawn(self._look(slot))
        else:
            self.tidy(slot)

    async def _look(self, slot: Slot) -> None:
        try:
            await self.look(slot)
        except Unavailable:
            if slot.fates or slot.waited_for:
                self.look_again(slot)
        self.tidy(slot)

    async def look(self, slot: Slot) -> None:
        """Asks how a queue is; what fell due is seen to.

        Raises:
            Unavailable: Redis is away.
        """
        await self.call(slot, scripts.LOOK, {})

    # What is heard of queues

    def learn(self, slot: Slot, told: dict[str, Any], sent: int | None = None) -> None:
        """Takes what a script told of a queue.

        Args:
            slot: the queue.
            told: the state.
            sent: when the call was sent that it answers, as ``_count`` counts, or None for
                what another server had done: then it is not known when that was.
        """
        state = read_state(told)
        self._note_seen(slot, told)
        ended = told.get("ended")
        if ended is not None:
            self.spawn(self.names.remove(slot.name, ended))
        before = slot.state
        if sent is None or sent <= slot.learned:
            follows = order(before, state)
            if follows is not Order.NEWER:
                if follows is Order.DOUBTFUL:
                    self._ask_again(slot)
                return
        self._count += 1
        slot.state, slot.learned = state, self._count
        if before.life != state.life:
            slot.producers.clear()
            if before.life is not None:
                self.on_over(slot)
        self._arm_due(slot, state)
        self.wake(slot)

    def _ask_again(self, slot: Slot) -> None:
        """Sees to it that a queue is asked for of which it is not clear how it is.

        What answers a call that is sent from now on is newer than all that is known.
        """
        if slot.waited_for and not slot.stale:
            slot.stale = True
            self.wake(slot)

    def _note_seen(self, slot: Slot, told: dict[str, Any]) -> None:
        """Remembers how far a life was seen, to notice when Redis has lost some of it."""
        life, version = told.get("life"), told.get("ver", 0)
        if told.get("reborn"):
            _log.error(
                "queue %r: Redis has lost changes that were answered, as a failover may; what is "
                "left of it goes on under another Queue-Id, %s",
                slot.name,
                life,
            )
        before = self._seen.pop(slot.name, None)
        if life is not None:
            if before is not None and before[0] == life and before[1] > version:
                version, told = before[1], {"gen": before[2]}
            self._seen[slot.name] = (life, version, told.get("gen"))
            if len(self._seen) > _MOST_SEEN:
                del self._seen[next(iter(self._seen))]
            self._keep_name(slot.name, life)

    def _arm_due(self, slot: Slot, state: State) -> None:
        self.timers.cancel(slot.due)
        slot.due = None
        if state.due is not None:
            slot.due = self.timers.at(self.now() + state.due, lambda _: self._fell_due(slot))
            self.arm()

    def _fell_due(self, slot: Slot) -> None:
        slot.due = None
        self.spawn(self._look(slot))

    def wake(self, slot: Slot) -> None:
        """Lets those be looked at who wait for a queue."""
        if not slot.waited_for:
            return
        slot.dirty = True
        if slot.pump is None:
            slot.pump = self.spawn(self.on_wake(slot))

    # Names

    def slot(self, name: str) -> Slot:
        """Gives the slot of a queue, making it if need be."""
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = Slot(name, self.keys.queue(name))
        return slot

    def tidy(self, slot: Slot) -> None:
        """Forgets a queue that nothing need be known of."""
        if slot.following and not slot.waited_for:
            self.on_idle(slot)
        if slot.idle and self.slots.get(slot.name) is slot:
            del self.slots[slot.name]

    async def create(self, slot: Slot) -> str:
        """Notes a queue that is about to be created; gives the id of its life.

        Raises:
            TooManyQueues: there are as many as may be.
        """
        life = new_id()
        for check in (self._check_names, None):
            if await self.names.add(slot.name, life):
                self._noted[slot.name] = (life, self.now())
                return life
            if check is not None:
                await check()
        raise TooManyQueues(
            f"there are {self.limits.queues} queues, as many as --max-queues allows; "
            "delete those that are done with"
        )

    async def _check_names(self) -> None:
        """Forgets names of queues that are over, where a server ended before it could do so.

        It asks for every queue, and so does nothing where that was done a short time ago:
        anybody may push to queues for which there is no room.
        """
        if self.now() < self._check_after:
            return
        self._check_after = self.now() + self.names.PENDING_SECONDS
        for name, (life, noted) in (await self.names.all()).items():
            slot = self.slot(name)
            await self.look(slot)
            if slot.state.life is None:
                await self.retire(name, life, noted)
            self.tidy(slot)

    async def retire(self, name: str, life: str, noted: int) -> None:
        """Forgets the name of a queue that is not there, unless it is being created."""
        if noted < int(time.time()) - self.names.PENDING_SECONDS:
            await self.names.sweep(name)
            await self.names.remove(name, life)

    def forget_noted(self) -> None:
        """Lets names be noted anew: Redis may have lost some."""
        self._noted.clear()

    def _keep_name(self, name: str, life: str) -> None:
        """Sees to it that a queue that is there is listed."""
        known, then = self._noted.get(name, (None, 0.0))
        if known == life and self.now() - then < _NOTED_SECONDS:
            return
        self._noted.pop(name, None)
        self._noted[name] = (life, self.now())
        if len(self._noted) > _MOST_SEEN:
            del self._noted[next(iter(self._noted))]
        self.spawn(self._keep(name, life))

    async def _keep(self, name: str, life: str) -> None:
        """Notes a name that is missing; the queue may be ended by another server meanwhile."""
        if await self.names.is_noted(name, life) or not await self._lives(name, life):
            return
        await self.names.keep(name, life)
        if not await self._lives(name, life):
            await self.names.remove(name, life)

    async def _lives(self, name: str, life: str) -> bool:
        slot = self.slot(name)
        await self.look(slot)
        lives = slot.state.life == life
        self.tidy(slot)
        return lives

    # Time

    def now(self) -> float:
        """Seconds, of the clock that deadlines are in."""
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    def arm(self) -> None:
        """Sees to it that the next deadline is kept."""
        deadline = self.timers.next()
        if deadline is None or self._stopped:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + deadline - self.now()
        if self._timer is not None:
            # Not the handle's own time: uvloop's has none where the timer is due at once.
            if self._armed <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._tick)
        self._armed = when

    def _tick(self) -> None:
        self._timer = None
        self.timers.run(self.now() + _ROUNDING)
        self.arm()

    # Work beside the calls

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts work that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, BatchqError):
            _log.error("unexpected", exc_info=error)

    @property
    def busy(self) -> bool:
        """Something is under way that ends by itself."""
        return self.link.busy > 0

    async def stop(self) -> None:
        """Ends what is under way."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await end(self._tasks)


def new_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


__all__ = ["Hub", "StoreUnavailable", "new_id"]
