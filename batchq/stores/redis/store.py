"""The Redis store: the verbs, put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from batchq.errors import BatchqError, ShuttingDown, StoreUnavailable, Unavailable
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
from batchq.stores.redis import complaints, scripts
from batchq.stores.redis.connect import Target, open_client, parse
from batchq.stores.redis.ending import end
from batchq.stores.redis.hub import Hub, new_id
from batchq.stores.redis.keys import Keys
from batchq.stores.redis.link import Link, Reply
from batchq.stores.redis.promise import describe
from batchq.stores.redis.slots import Slot
from batchq.stores.redis.state import read_producer
from batchq.stores.redis.waiting import Waiting

_log: Final = logging.getLogger("batchq.redis")

_T = TypeVar("_T")

_LAST_SECONDS: Final = 3.0
"""Seconds to tell Redis at the end which answers have arrived; else it waits for repetitions."""

_AT_ONCE: Final = 64
"""Queues that are asked for at once when all are listed."""


class RedisStore:
    """Queues in Redis. See ``batchq.stores.base.Store``.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or
            ``redis+cluster://`` (the latter two also with ``rediss``); see ``connect``.
        limits: how much may be held.
        clock: seconds, instead of Redis's clock and the event loop's (for tests).

    Raises:
        BadUrl: the URL can't be read.
    """

    def __init__(
        self,
        url: str,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._target: Target = parse(url)
        self._limits = limits or Limits()
        self._clock = clock
        self._text = describe(None)
        self._hub: Hub | None = None
        self._stopped = False
        self._sweeping: set[str] = set()

    @property
    def promise(self) -> Promise:
        """What a push that returned survives: what that Redis promises."""
        return Promise("shared", self._text)

    @property
    def queue_bytes(self) -> int:
        """Payload bytes that one queue may hold."""
        return self._limits.queue_bytes

    async def start(self) -> None:
        """Opens the store: see the contract."""
        target = self._target
        client = open_client(target)
        options = target.options
        link = Link(client, options.connections, options.timeout, self._clock, self._recovered)
        keys = Keys(options.prefix)
        try:
            await link.open()
        except StoreUnavailable:
            await link.close()
            raise
        self._text = describe(await _settings(link))
        self._link, self._hub = link, Hub(link, keys, self._limits, self._clock)
        self._waiting = Waiting(self._hub, client, target, pings=self._clock is None)
        self._readers, self._writers = self._waiting.readers, self._waiting.writers
        self._subscription = self._waiting.subscription

    def _recovered(self) -> None:
        if self._hub is not None:
            self._waiting.recovered()

    async def stop(self) -> None:
        """Closes the store: see the contract."""
        if self._hub is None or self._stopped:
            return
        self.drain()
        for slot in list(self._hub.slots.values()):
            self._readers.end(slot, complaints.shutting_down())
        flushing = asyncio.get_running_loop().create_task(self._flush_at_last())
        await asyncio.wait({flushing}, timeout=_LAST_SECONDS)
        self._stopped = True
        self._link.closed = True
        await self._waiting.stop()
        await end({flushing})
        await self._link.close()

    async def _flush_at_last(self) -> None:
        with contextlib.suppress(Unavailable):
            await self.flush()

    async def flush(self) -> None:
        """Tells Redis at once which answers have arrived; else it is told within a moment.

        Raises:
            StoreUnavailable: Redis is away.
        """
        hub = self._opened()
        for slot in list(hub.slots.values()):
            while slot.fates:
                await hub.look(slot)

    def drain(self) -> None:
        """Prepares the end: see the contract."""
        hub = self._hub
        if hub is None:
            return
        hub.draining = hub.link.draining = True
        for slot in list(hub.slots.values()):
            self._readers.drain(slot)
            self._writers.drain(slot)

    @property
    def busy(self) -> bool:
        """Something is under way that ends by itself (for tests on virtual time)."""
        return self._hub is not None and (self._hub.busy or self._subscription.busy > 0)

    @property
    def announced(self) -> int:
        """How many servers were told of changes that were made here, each time counted."""
        return self._hub.announced if self._hub is not None else 0

    @property
    def heard(self) -> int:
        """How often this server was told of a change, its own included."""
        return self._subscription.events if self._hub is not None else 0

    def failure(self) -> str | None:
        """Tells why the store can't serve, or None."""
        return self._link.health.down if self._hub is not None else "the store is not open"

    # Verbs

    async def push(self, request: PushRequest) -> Pushed:
        """Appends a batch: see the contract."""
        self._opened()
        return await self._writers.push(request)

    async def close(self, request: CloseRequest) -> End:
        """Closes a queue: see the contract."""
        self._opened()
        return await self._writers.close(request)

    async def pull(self, request: PullRequest) -> PullAnswer:
        """Takes a batch: see the contract."""
        self._opened()
        return await self._readers.pull(request)

    async def ack(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Is done with leased lines: see the contract."""
        return await self._leases("ack", queue, leases, queue_id)

    async def release(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Puts leased lines back: see the contract."""
        return await self._leases("release", queue, leases, queue_id)

    async def extend(
        self, queue: str, leases: Sequence[str], seconds: float, queue_id: str | None
    ) -> str:
        """Sets when leases end: see the contract."""
        seconds = min(seconds, self._limits.lease_seconds)
        return await self._leases("extend", queue, leases, queue_id, seconds)

    async def _leases(
        self,
        verb: str,
        queue: str,
        leases: Sequence[str],
        queue_id: str | None,
        seconds: float = 0.0,
    ) -> str:
        args = {
            "verb": verb,
            "ids": list(dict.fromkeys(leases)),
            "pin": queue_id,
            "op": new_id(),
            "seconds": int(seconds * 1_000_000),
        }
        slot, reply = await _apart(self._run(queue, args, scripts.LEASES))
        header = reply.header
        if header["r"] == "replaced":
            raise complaints.replaced(queue, queue_id, slot.state.life)
        life = header.get("id")
        if header.get("lost"):
            raise complaints.lost(header["lost"], life)
        return str(life)

    async def delete(self, queue: str, queue_id: str | None) -> str:
        """Ends a queue's life: see the contract."""
        return await _apart(self._delete(queue, queue_id))

    async def _delete(self, queue: str, queue_id: str | None) -> str:
        args = {
            "op": new_id(),
            "pin": queue_id,
            "kc": int(self._limits.keep_closed * 1_000_000),
        }
        slot, reply = await self._run(queue, args, scripts.DELETE)
        header = reply.header
        if header["r"] == "none":
            raise complaints.no_such_queue(queue)
        if header["r"] == "replaced":
            raise complaints.replaced(queue, queue_id, slot.state.life)
        life = str(header["id"])
        hub = self._opened()
        # Before the name goes, by which another server finds what is left if this one ends now.
        await hub.names.sweep(queue)
        await hub.names.remove(queue, life)
        await hub.names.keep_record(queue, life)
        return life

    async def _run(
        self, queue: str, args: dict[str, Any], script: scripts.Script
    ) -> tuple[Slot, Reply]:
        """Runs a numbered script."""
        hub = self._opened()
        slot = hub.slot(queue)
        reply = await hub.call(slot, script, args)
        hub.arrived(slot, args["op"], doubtful=reply.doubtful)
        hub.tidy(slot)
        return slot, reply

    async def queues(self) -> list[QueueStats]:
        """All queues, by name."""
        return await _apart(self._queues())

    async def _queues(self) -> list[QueueStats]:
        hub = self._opened()
        noted = await hub.names.all()
        names = sorted(noted)
        found: list[QueueStats] = []
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            told = await asyncio.gather(*(self._stats_or_none(name) for name in some))
            found += [stats for stats in told if stats is not None]
            for name in [name for name, stats in zip(some, told, strict=True) if stats is None]:
                await hub.retire(name, *noted[name])
        return found

    async def _stats_or_none(self, queue: str) -> QueueStats | None:
        slot, reply = await self._look(queue, None, None)
        return _stats(slot, reply.header) if reply.header["r"] == "stats" else None

    async def stats(self, queue: str, queue_id: str | None) -> QueueStats:
        """One queue: see the contract."""
        slot, header = await self._existing(queue, queue_id)
        return _stats(slot, header)

    async def producer(
        self, queue: str, producer: str, queue_id: str | None
    ) -> ProducerState | None:
        """What a queue has of a producer: see the contract."""
        _, header = await self._existing(queue, queue_id, producer)
        return read_producer(header.get("producer"))

    async def _existing(
        self, queue: str, queue_id: str | None, producer: str | None = None
    ) -> tuple[Slot, dict[str, Any]]:
        slot, reply = await _apart(self._look(queue, queue_id, producer))
        if reply.header["r"] == "replaced":
            raise complaints.replaced(queue, queue_id, slot.state.life)
        if reply.header["r"] == "none":
            raise complaints.no_such_queue(queue)
        return slot, reply.header

    async def _look(
        self, queue: str, queue_id: str | None, producer: str | None
    ) -> tuple[Slot, Reply]:
        hub = self._opened()
        slot = hub.slot(queue)
        args = {"whole": True, "pin": queue_id, "producer": producer}
        try:
            return slot, await hub.call(slot, scripts.LOOK, args)
        finally:
            hub.tidy(slot)

    def _opened(self) -> Hub:
        if self._hub is None or self._stopped:
            raise ShuttingDown("the store is closed; try again")
        return self._hub


async def _apart(work: Coroutine[Any, Any, _T]) -> _T:
    """Does work that goes on when its caller leaves: a command is never broken off."""
    return await asyncio.shield(asyncio.get_running_loop().create_task(work))


async def _settings(link: Link) -> dict[str, str] | None:
    """Reads what Redis says of its durability; None where it may not be asked."""
    try:
        told: dict[str, str] = {}
        for name in ("appendonly", "appendfsync", "save"):
            answer = await link.plain("CONFIG GET", name)
            pairs = answer.items() if isinstance(answer, dict) else [tuple(answer)]
            told |= {_text(key): _text(value) for key, value in pairs}
    except (BatchqError, ValueError) as error:
        _log.info("Redis's settings can't be read: %s", error)
        return None
    return told


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _stats(slot: Slot, header: dict[str, Any]) -> QueueStats:
    told = header["s"]
    return QueueStats(
        queue=slot.name,
        queue_id=told["life"],
        lines=told["lines"],
        bytes=told["bytes"],
        ready_lines=told["rl"],
        ready_bytes=header["rb"],
        leased_lines=header["ll"],
        leases=header["nl"],
        stored_bytes=told["stored"],
        waiting_pulls=len(slot.waiters),
        parked_pushes=len(slot.parked) + len(slot.room),
        producers=header["np"],
        closed=told.get("closed", False),
        drained=told.get("drained", False),
        digest=header.get("digest"),
        unterminated=header.get("unterminated") or False,
    )
