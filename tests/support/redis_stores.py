"""Redis stores for tests on virtual time: one server, or two that share the queues."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace

from batchq.model import (
    CloseRequest,
    End,
    Limits,
    ProducerState,
    Promise,
    PullAnswer,
    PullRequest,
    Pushed,
    PushRequest,
    QueueStats,
)
from batchq.stores.redis import RedisStore

_SECONDS = 30.0


def on_loop_time(url: str, limits: Limits) -> RedisStore:
    """A store of its own keys, whose clock is the event loop's."""
    joint = "&" if "?" in url else "?"
    prefixed = f"{url}{joint}prefix=t{secrets.token_hex(6)}"
    return RedisStore(prefixed, limits, clock=_loop_time)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


async def until_tried(store: RedisStore, queue: str, pulls: int = 1) -> None:
    """Waits until so many pulls were tried, wait, and are told of changes."""
    async with asyncio.timeout(_SECONDS):
        while not _are_tried(store, queue, pulls):  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.005)


def _are_tried(store: RedisStore, queue: str, pulls: int) -> bool:
    slot = store._opened().slots.get(queue)
    if slot is None or slot.stale or slot.pump is not None or not slot.following:
        return False
    if store._subscription.busy:
        return False
    return pulls == sum(call.trying is None and not call.due for call in slot.waiters)


class TwoServers:
    """Two stores on one Redis; every call goes to the other one than the call before.

    Before each call the word of what the last one did has gone round, as it has between the
    calls of a caller that is not infinitely quick; not if it is ``hasty``.
    """

    def __init__(self, url: str, limits: Limits, *, hasty: bool = False) -> None:
        self._hasty = hasty
        first = on_loop_time(url, limits)
        second = RedisStore("redis://", limits, clock=_loop_time)
        second._target = first._target
        self.stores = (first, second)
        self._turn = 0

    @property
    def promise(self) -> Promise:
        return self.stores[0].promise

    @property
    def busy(self) -> bool:
        said = sum(store.announced for store in self.stores)
        heard = sum(store.heard for store in self.stores)
        return said != heard or any(store.busy for store in self.stores)

    async def _next(self) -> RedisStore:
        if not self._hasty:
            await self._gone_round()
        self._turn += 1
        return self.stores[self._turn % 2]

    async def _gone_round(self) -> None:
        for store in self.stores:
            # Not to be broken off: redis-py's connections may swallow a cancellation.
            await asyncio.shield(asyncio.ensure_future(store.flush()))
        while self.busy:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0)

    async def start(self) -> None:
        for store in self.stores:
            await store.start()

    async def stop(self) -> None:
        for store in self.stores:
            await store.stop()

    def drain(self) -> None:
        for store in self.stores:
            store.drain()

    @property
    def queue_bytes(self) -> int:
        return self.stores[0].queue_bytes

    def failure(self) -> str | None:
        return self.stores[0].failure() or self.stores[1].failure()

    async def push(self, request: PushRequest) -> Pushed:
        return await (await self._next()).push(request)

    async def pull(self, request: PullRequest) -> PullAnswer:
        return await (await self._next()).pull(request)

    async def ack(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        return await (await self._next()).ack(queue, leases, queue_id)

    async def release(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        return await (await self._next()).release(queue, leases, queue_id)

    async def extend(
        self, queue: str, leases: Sequence[str], seconds: float, queue_id: str | None
    ) -> str:
        return await (await self._next()).extend(queue, leases, seconds, queue_id)

    async def close(self, request: CloseRequest) -> End:
        return await (await self._next()).close(request)

    async def delete(self, queue: str, queue_id: str | None) -> str:
        return await (await self._next()).delete(queue, queue_id)

    async def queues(self) -> list[QueueStats]:
        return await (await self._next()).queues()

    async def stats(self, queue: str, queue_id: str | None) -> QueueStats:
        """Who waits is told by each server for itself: the sum is what the two know."""
        await self._next()
        told = [await store.stats(queue, queue_id) for store in self.stores]
        return replace(
            told[0],
            waiting_pulls=sum(stats.waiting_pulls for stats in told),
            parked_pushes=sum(stats.parked_pushes for stats in told),
        )

    async def producer(
        self, queue: str, producer: str, queue_id: str | None
    ) -> ProducerState | None:
        return await (await self._next()).producer(queue, producer, queue_id)
