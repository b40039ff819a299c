"""Those who wait: looked at when something may have come for them, and told if Redis is away."""

from __future__ import annotations

from typing import Any, Final

from batchq.errors import Unavailable
from batchq.stores.redis.connect import Client, Target
from batchq.stores.redis.hub import Hub
from batchq.stores.redis.readers import Readers
from batchq.stores.redis.slots import Slot
from batchq.stores.redis.subscription import Subscriptions
from batchq.stores.redis.writers import Writers

_LINGER_SECONDS: Final = 10.0
"""Seconds for which a queue's changes are listened to after the last has waited for it."""


class Waiting:
    """Serves those who wait, and hears of what they wait for.

    Args:
        hub: the shared state.
        client: knows which node of a cluster a queue is on.
        target: where Redis is.
        pings: whether the subscription asks for signs of life.

    Attributes:
        readers, writers: answer calls.
        subscription: hears of other servers' changes.
    """

    def __init__(self, hub: Hub, client: Client, target: Target, *, pings: bool) -> None:
        self._hub = hub
        self._stopped = False
        self.readers = Readers(hub, self._follow)
        self.writers = Writers(hub, self._follow)
        hub.on_wake, hub.on_over = self._pump, self.writers.over
        hub.on_idle = self._unfollow_soon
        hub.on_reply = lambda slot: self.subscription.check(slot.key)
        self.subscription = Subscriptions(
            client,
            target,
            f"{hub.keys.prefix}:servers",
            self._heard,
            self._back,
            self._moved,
            self._away,
            pings=pings,
        )

    async def stop(self) -> None:
        """Ends."""
        self._stopped = True
        await self._hub.stop()
        await self.subscription.stop()

    async def _pump(self, slot: Slot) -> None:
        """Looks at those who wait for a queue, until there is nothing more to be done."""
        hub = self._hub
        slot.dirty = True
        try:
            while slot.dirty and slot.waited_for:
                slot.dirty = False
                if slot.stale:
                    slot.stale = False
                    await hub.look(slot)
                await self.readers.settle(slot)
                if await self.writers.step(slot):
                    slot.dirty = True
        except Unavailable as error:
            self.readers.fail_overdue(slot, error)
            self.writers.fail_overdue(slot, error)
            hub.look_again(slot)
        finally:
            slot.pump = None
        if slot.dirty and slot.waited_for and not slot.stale:
            hub.wake(slot)
        elif slot.parked or slot.room or len(slot.waiters) > slot.trying:
            self._follow(slot)
        else:
            hub.tidy(slot)

    def _follow(self, slot: Slot) -> None:
        """Sees to it that changes of a queue are heard of, and none is missed."""
        if slot.following or self._stopped:
            return
        slot.following = True
        self._hub.spawn(self._begin_to_follow(slot))

    async def _begin_to_follow(self, slot: Slot) -> None:
        await self.subscription.follow(slot.key)
        self._recheck(slot)

    def _recheck(self, slot: Slot) -> None:
        """Looks at a queue of which changes may have been missed."""
        slot.stale = True
        self.writers.recheck(slot)
        for call in slot.waiters:
            call.due = call.due or call.request.lease_id is not None
        self._hub.wake(slot)

    def _unfollow_soon(self, slot: Slot) -> None:
        hub = self._hub
        if slot.linger is None:

            def over(_now: float) -> None:
                hub.spawn(self._unfollow(slot))

            slot.linger = hub.timers.at(hub.now() + _LINGER_SECONDS, over)
            hub.arm()

    async def _unfollow(self, slot: Slot) -> None:
        slot.linger = None
        if not slot.waited_for:
            slot.following = False
            await self.subscription.leave(slot.key)
            self._hub.tidy(slot)

    def _heard(self, channel: str, event: dict[str, Any]) -> None:
        """Is told of a change that a server made."""
        hub = self._hub
        if event["from"] == hub.me:
            return
        slot = hub.slots.get(self._hub.keys.name(channel))
        if slot is None:
            return
        hub.learn(slot, event["s"] | {"ended": None})
        self._note(slot, event)

    def _note(self, slot: Slot, event: dict[str, Any]) -> None:
        if event.get("producer") and slot.state.life is not None:
            name, epoch, seq = event["producer"]
            self.writers.advanced(slot, event["s"].get("life"), name, (epoch, seq))
            self._hub.wake(slot)
        if event.get("lease"):
            self.readers.twins(slot, event["lease"])

    def _moved(self, channel: str) -> None:
        """A queue's changes are heard of from another node: some may have been missed."""
        slot = self._hub.slots.get(self._hub.keys.name(channel))
        if slot is not None and slot.waited_for:
            self._recheck(slot)

    def _away(self, error: Exception) -> None:
        """The subscription is gone, and can't be had again."""
        self._hub.link.health.note_down("", self._hub.keys.names, error)

    def _back(self) -> None:
        """The subscription is there again: whatever is waited for may have come."""
        if self._stopped:
            return
        self._hub.link.health.note_up("")
        self._recheck_all()

    def recovered(self) -> None:
        """Redis is there again, and after a failover queues may be on other nodes of it."""
        if self._stopped:
            return
        self._hub.forget_noted()
        self.subscription.check()
        self._recheck_all()

    def _recheck_all(self) -> None:
        for slot in list(self._hub.slots.values()):
            if slot.waited_for:
                self._recheck(slot)
