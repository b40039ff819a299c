"""One subscription a server: it hears of changes that other servers made.

A channel for each queue that someone here waits for; all of them on one connection, in a
cluster on one to each node, where a queue's changes are announced by the node that it is
on. (The nodes pass them on to each other, but what they lose on the way is lost.) After a
reconnect everything that is waited for has to be looked at again: what was said in
between is lost, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it has no types of its own
from redis.asyncio.client import PubSub

from batchq.stores.redis.connect import (
    Client,
    Target,
    is_cluster,
    look_around,
    open_pubsub,
    owner,
)
from batchq.stores.redis.ending import end
from batchq.stores.redis.errors import AWAY

_log: Final = logging.getLogger("batchq.redis")

_LONGEST_PAUSE: Final = 1.0
_LEAST_PING_SECONDS: Final = 1.0
"""Seconds between signs of life, at least; without one, a connection is given up."""

_Heard = Callable[[str, dict[str, Any]], None]


class Subscriptions:
    """The server's ears.

    Args:
        client: knows which node a queue is on.
        target: where Redis is.
        channel: one that is always listened to.
        on_event: told of a channel and what was said there.
        on_back: called after each reconnect.
        on_moved: told of a channel that is listened to somewhere else from now on.
        on_away: called when one failed, and there is nothing else to reach.
        pings: whether signs of life are asked for.
    """

    def __init__(  # noqa: PLR0913  those that are told of something
        self,
        client: Client,
        target: Target,
        channel: str,
        on_event: _Heard,
        on_back: Callable[[], None],
        on_moved: Callable[[str], None],
        on_away: Callable[[Exception], None],
        *,
        pings: bool = True,
    ) -> None:
        self._client = client
        self._target = target
        self._on_moved = on_moved
        self._on_away = on_away
        seconds = target.options.timeout if pings else None

        def make(node: str) -> _Subscription:
            return _Subscription(self, node, channel, on_event, on_back, seconds)

        self._make = make
        self._by_node: dict[str, _Subscription] = {}
        self._nodes: dict[str, str] = {}
        self._moves: set[asyncio.Task[None]] = set()
        self._busy = 0

    @property
    def busy(self) -> int:
        """How much it was asked for that ends by itself."""
        return self._busy

    @property
    def events(self) -> int:
        """How many events were heard."""
        return sum(one.events for one in self._by_node.values())

    async def follow(self, channel: str) -> None:
        """Listens to a channel; returns once nothing that is said there can be missed."""
        self._busy += 1
        try:
            await self._on(owner(self._client, channel), channel)
        finally:
            self._busy -= 1

    async def _on(self, node: str, channel: str) -> None:
        self._nodes[channel] = node
        one = self._by_node.get(node)
        if one is None:
            one = self._by_node[node] = self._make(node)
            one.start()
        await one.follow(channel)

    async def leave(self, channel: str) -> None:
        """Listens to a channel no more."""
        one = self._by_node.get(self._nodes.pop(channel, ""))
        if one is not None:
            await one.leave(channel)

    async def open(self, node: str) -> PubSub:
        """Makes a connection to a node."""
        return await open_pubsub(self._client, node, self._target)

    async def lost(self, node: str, error: Exception | None) -> bool:
        """Is told that a node was lost: its queues may be on another by now.

        Tells whether there is anything to listen to there.

        Args:
            node: which; "" where there is one.
            error: why it could not be reached again, or None where that was not tried yet.
        """
        if not is_cluster(self._client):
            if error is not None:
                self._on_away(error)
            return True
        await look_around(self._client)
        self.check()
        if node in self._nodes.values():
            return True
        self._by_node.pop(node, None)
        return False

    def check(self, channel: str | None = None) -> None:
        """Goes after a channel, or all, whose queue is on another node than before.

        A cluster's client hears from the node that it asks where a queue has gone to.
        """
        if not is_cluster(self._client):
            return
        for each in list(self._nodes) if channel is None else [channel]:
            before, now = self._nodes.get(each), owner(self._client, each)
            if before is not None and now not in {before, ""}:
                self._nodes[each] = now
                task = asyncio.get_running_loop().create_task(self._move(each, before, now))
                self._moves.add(task)
                task.add_done_callback(self._moves.discard)

    async def _move(self, channel: str, before: str, now: str) -> None:
        old = self._by_node.get(before)
        if old is not None:
            # Who waits for it there is let go before it is asked for elsewhere.
            await old.leave(channel)
        await self._on(now, channel)
        self._on_moved(channel)

    async def stop(self) -> None:
        """Ends."""
        await end(self._moves)
        for one in self._by_node.values():
            await one.stop()


class _Subscription:
    """The ear at one node.

    Args:
        all_: those that it belongs to.
        node: where it listens.
        channel: one that is always listened to.
        on_event: told of a channel and what was said there.
        on_back: called when it begins to listen.
        seconds: for a sign of life; None where none is asked for.

    Attributes:
        events: how many were heard.
    """

    def __init__(
        self,
        all_: Subscriptions,
        node: str,
        channel: str,
        on_event: _Heard,
        on_back: Callable[[], None],
        seconds: float | None,
    ) -> None:
        self._all = all_
        self._node = node
        self._on_event = on_event
        self._on_back = on_back
        self._seconds = seconds
        self._pubsub: PubSub | None = None
        self._wanted: dict[str, asyncio.Event] = {channel: asyncio.Event()}
        self._task: asyncio.Task[None] | None = None
        self._heard = 0.0
        self._stopped = False
        self.events = 0

    def start(self) -> None:
        """Begins to listen."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def follow(self, channel: str) -> None:
        """Listens to a channel; returns once nothing that is said there can be missed."""
        confirmed = self._wanted.get(channel)
        if confirmed is None:
            confirmed = self._wanted[channel] = asyncio.Event()
            await self._tell("subscribe", channel)
        await confirmed.wait()

    async def leave(self, channel: str) -> None:
        """Listens to a channel no more; whoever waits for it is let go."""
        confirmed = self._wanted.pop(channel, None)
        if confirmed is not None:
            confirmed.set()
            await self._tell("unsubscribe", channel)

    async def stop(self) -> None:
        """Ends."""
        self._stopped = True
        if self._task is not None:
            await end({self._task})
        await self._close()

    async def _tell(self, verb: str, channel: str) -> None:
        pubsub = self._pubsub
        if pubsub is not None:
            # Where this fails the listener notices, and asks for all channels anew.
            with contextlib.suppress(*AWAY):
                await getattr(pubsub, verb)(channel)

    async def _run(self) -> None:
        pause = 0.05
        while not self._stopped:
            failed: Exception | None = None
            try:
                await self._listen()
            except AWAY as error:
                _log.info("the subscription ended: %s", error)
                failed = error
            except Exception as error:  # noqa: BLE001  nobody else would listen again
                _log.error("unexpected", exc_info=error)
                failed = error
            if self._pubsub is not None:
                pause, failed = 0.05, None
            for confirmed in self._wanted.values():
                confirmed.clear()
            await self._close()
            with contextlib.suppress(*AWAY):
                if not await self._all.lost(self._node, failed):
                    break
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        for confirmed in self._wanted.values():
            confirmed.set()

    async def _listen(self) -> None:
        pubsub = await self._all.open(self._node)
        try:
            asked: set[str] = set()
            while missing := self._wanted.keys() - asked:  # more may be wanted meanwhile
                await pubsub.subscribe(*missing)
                asked |= missing
        except BaseException:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            raise
        if self._stopped:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            return
        self._pubsub = pubsub
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        async with asyncio.timeout(None) as silence:
            pings = self._begin_pings(pubsub, silence)
            try:
                await self._hear(pubsub)
            finally:
                if pings is not None:
                    pings.cancel()

    async def _hear(self, pubsub: PubSub) -> None:
        loop = asyncio.get_running_loop()
        missing = set(self._wanted)
        async for message in pubsub.listen():
            self._heard = loop.time()
            channel = _text(message["channel"])
            if message["type"] == "message":
                self._take(channel, message["data"])
            elif message["type"] == "subscribe":
                if channel in self._wanted:
                    self._wanted[channel].set()
                missing.discard(channel)
                if not missing:
                    missing = {""}
                    self._on_back()

    def _take(self, channel: str, data: bytes) -> None:
        """Passes an event on; a stranger's does no harm to the others."""
        self.events += 1
        try:
            self._on_event(channel, msgpack.unpackb(data, strict_map_key=False))
        except Exception as error:  # noqa: BLE001  anybody may publish anything there
            _log.warning("channel %s: not an event of batchq's (%r)", channel, error)

    def _begin_pings(self, pubsub: PubSub, silence: asyncio.Timeout) -> asyncio.Task[None] | None:
        if self._seconds is None:
            return None
        return asyncio.get_running_loop().create_task(self._ping(pubsub, self._seconds, silence))

    async def _ping(self, pubsub: PubSub, seconds: float, silence: asyncio.Timeout) -> None:
        """Ends the listening when nothing gives a sign of life for so many seconds."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(seconds, _LEAST_PING_SECONDS))
            asked = loop.time()
            with contextlib.suppress(*AWAY):
                await pubsub.ping()
            await asyncio.sleep(seconds)
            if self._heard < asked:
                _log.warning("the subscription gives no sign of life")
                silence.reschedule(loop.time())
                return

    async def _close(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with contextlib.suppress(*AWAY):
                await pubsub.aclose()  # type: ignore[no-untyped-call]


def _text(channel: bytes | str | None) -> str:
    return channel.decode() if isinstance(channel, bytes) else channel or ""
