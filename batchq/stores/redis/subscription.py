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
from redis import exceptions
from redis.asyncio.client import PubSub

from batchq.stores.redis.connect import Client, look_around, open_pubsub, owner

_log: Final = logging.getLogger("batchq.redis")

_LONGEST_PAUSE: Final = 1.0
_PING_SECONDS: Final = 15.0
"""Seconds between signs of life; twice that without any, and the connection is given up."""

_Heard = Callable[[str, dict[str, Any]], None]


class Subscriptions:
    """The server's ears.

    Args:
        client: its connections' settings are used.
        channel: one that is always listened to.
        on_event: told of a channel and what was said there.
        on_back: called after each reconnect.
        on_away: called when one failed, and there is nothing else to reach.
        pings: whether signs of life are asked for.
    """

    def __init__(
        self,
        client: Client,
        channel: str,
        on_event: _Heard,
        on_back: Callable[[], None],
        on_away: Callable[[Exception], None],
        *,
        pings: bool = True,
    ) -> None:
        self._client = client
        self._on_away = on_away

        def make(node: str) -> _Subscription:
            return _Subscription(self, node, channel, on_event, on_back, pings=pings)

        self._make = make
        self._by_node: dict[str, _Subscription] = {}
        self._nodes: dict[str, str] = {}
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
        return await open_pubsub(self._client, node)

    async def lost(self, node: str, error: Exception | None) -> None:
        """Is told that a node was lost: its queues may be on another by now.

        Args:
            node: which; "" where there is one.
            error: why it could not be reached again, or None where that was not tried yet.
        """
        if not node:
            if error is not None:
                self._on_away(error)
            return
        await look_around(self._client)
        one = self._by_node[node]
        for channel in [c for c, at in self._nodes.items() if at == node]:
            now = owner(self._client, channel)
            if now != node:
                one.forget(channel)
                asyncio.get_running_loop().create_task(self._on(now, channel))

    async def stop(self) -> None:
        """Ends."""
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
        pings: whether signs of life are asked for.

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
        *,
        pings: bool,
    ) -> None:
        self._all = all_
        self._node = node
        self._on_event = on_event
        self._on_back = on_back
        self._pings = pings
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

    def forget(self, channel: str) -> None:
        """Does not ask for a channel any more; whoever waits for it is let go."""
        confirmed = self._wanted.pop(channel, None)
        if confirmed is not None:
            confirmed.set()

    async def leave(self, channel: str) -> None:
        """Listens to a channel no more."""
        if self._wanted.pop(channel, None) is not None:
            await self._tell("unsubscribe", channel)

    async def stop(self) -> None:
        """Ends."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            # A connection that is being made may swallow the cancellation.
            await self._close()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._close()

    async def _tell(self, verb: str, channel: str) -> None:
        pubsub = self._pubsub
        if pubsub is not None:
            # Where this fails the listener notices, and asks for all channels anew.
            with contextlib.suppress(exceptions.RedisError, OSError, RuntimeError):
                await getattr(pubsub, verb)(channel)

    async def _run(self) -> None:
        pause = 0.05
        while not self._stopped:
            failed: Exception | None = None
            try:
                await self._listen()
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                _log.info("the subscription ended: %s", error)
                failed = error
            if self._pubsub is not None:
                pause, failed = 0.05, None
            for confirmed in self._wanted.values():
                confirmed.clear()
            await self._close()
            with contextlib.suppress(exceptions.RedisError, OSError, TimeoutError):
                await self._all.lost(self._node, failed)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        pubsub = await self._all.open(self._node)
        try:
            await pubsub.subscribe(*self._wanted)
        except BaseException:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            raise
        if self._stopped:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            return
        self._pubsub = pubsub
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        pings = loop.create_task(self._ping(pubsub)) if self._pings else None
        try:
            missing = set(self._wanted)
            async for message in pubsub.listen():
                self._heard = loop.time()
                channel = _text(message["channel"])
                if message["type"] == "message":
                    self.events += 1
                    self._on_event(channel, msgpack.unpackb(message["data"], strict_map_key=False))
                elif message["type"] == "subscribe":
                    if channel in self._wanted:
                        self._wanted[channel].set()
                    missing.discard(channel)
                    if not missing:
                        missing = {""}
                        self._on_back()
        finally:
            if pings is not None:
                pings.cancel()

    async def _ping(self, pubsub: PubSub) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PING_SECONDS)
            if loop.time() - self._heard > 2 * _PING_SECONDS:
                _log.warning("the subscription gives no sign of life")
                await self._close()
                return
            with contextlib.suppress(exceptions.RedisError, OSError, RuntimeError):
                await pubsub.ping()

    async def _close(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with contextlib.suppress(exceptions.RedisError, OSError, RuntimeError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]


def _text(channel: bytes | str | None) -> str:
    return channel.decode() if isinstance(channel, bytes) else channel or ""
