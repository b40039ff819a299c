"""Random steps on both stores: the same answers, whatever is in memory, whatever restarts."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite.sqlite_support import crashed, tidied
from support.cancelling import interrupted

from batchq.broker import readers
from batchq.broker.ready import Ready
from batchq.errors import BatchqError
from batchq.lines import batch_of
from batchq.model import CloseRequest, Limits, Numbering, Pulled, PullRequest, PushRequest
from batchq.stores.local import LocalStore
from batchq.stores.memory import MemoryStore
from batchq.stores.sqlite import Options, SqliteStore, store

_LIMITS = Limits(queue_bytes=60_000, queues=4, producers=3, keep_closed=50.0)
_NAMES = ("a", "b", "c")


class _World:
    """Both stores, on one clock that the test moves, with the same ids."""

    def __init__(self, path: Path, memory: int) -> None:
        self.now = 1000.0
        self.options = Options(memory=memory)
        self.path = path
        self.restarts = 0
        self.memory = MemoryStore(_LIMITS, clock=self._clock, new_id=_ids())
        self.ids = _ids()
        self.sqlite = self._open()

    def _clock(self) -> float:
        return self.now

    def _open(self) -> SqliteStore:
        return SqliteStore(
            self.path,
            _LIMITS,
            self.options,
            clock=self._clock,
            wall=self._clock,
            new_id=self.ids,
        )

    async def both(self, verb: str, *arguments: Any) -> Any:
        expected, got = [
            await _answer(kept, verb, *arguments) for kept in (self.memory, self.sqlite)
        ]
        assert got == expected, (verb, arguments)
        return got

    async def restart(self, *, kill: bool) -> None:
        """Starts the SQLite store anew; the other one lets go of what is out."""
        self.restarts += 1
        if kill:
            self.path = crashed(self.path, self.path.with_name(f"copy{self.restarts}.db"))
        await self.sqlite.stop()
        self.sqlite = self._open()
        await self.sqlite.start()
        for stats in await self.memory.queues():
            life = self.memory._broker._hub.slots[stats.queue].life
            assert life is not None
            if life.leases:
                await self.memory.release(stats.queue, list(life.leases), None)
            ready = Ready()
            while (span := life.ready.first()) is not None:
                life.ready.take(span.end)
                ready.put(span, 0)
            life.ready = ready


def _ids() -> Callable[[], str]:
    counter = itertools.count()
    return lambda: f"id-{next(counter)}"


async def _answer(kept: LocalStore, verb: str, *arguments: Any) -> Any:
    try:
        return await getattr(kept, verb)(*arguments)
    except BatchqError as error:
        return type(error), error.detail


class _Steps:
    """Chooses what to do; remembers leases and producers so that some of it makes sense."""

    def __init__(self, world: _World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.leases: dict[str, list[str]] = {name: [] for name in _NAMES}

    async def step(self) -> None:
        kinds = ("push", "numbered", "pull", "leased", "ack", "release", "close", "delete", "left")
        weights = (20, 20, 20, 20, 12, 6, 2, 2, 8)
        kind = self.random.choices((*kinds, "time", "restart"), (*weights, 2, 4))[0]
        name = self.random.choice(_NAMES)
        await getattr(self, f"_{kind}")(name)
        await self.world.both("stats", name, None)

    def _data(self) -> bytes:
        most = self.random.choice((3, 30, 300, 3000, 9000))
        lengths = [self.random.randrange(most) for _ in range(self.random.randrange(6))]
        return b"".join(self.random.randbytes(n).replace(b"\n", b"N") + b"\n" for n in lengths)

    async def _push(self, name: str) -> None:
        await self.world.both("push", PushRequest(name, batch_of(self._data())))

    async def _numbered(self, name: str) -> None:
        producer = self.random.choice(("p1", "p2", "p3", "p4"))
        state = await _answer(self.world.memory, "producer", name, producer, None)
        seq = getattr(state, "seq", -1) + self.random.choice((1, 1, 1, 1, 0))
        epoch = getattr(state, "epoch", 0)
        if self.random.random() < 0.1:
            epoch, seq = epoch + 1, 0
        number = Numbering(producer, epoch, max(seq, 0))
        await self.world.both("push", PushRequest(name, batch_of(self._data()), number))

    def _request(self, name: str, **more: Any) -> PullRequest:
        return PullRequest(
            name,
            min=self.random.choice((1, 1, 3)),
            max=self.random.choice((None, 3, 5)),
            max_bytes=self.random.choice((1, 100, 5000, 1 << 20)),
            wait=0.0,
            partial=self.random.random() < 0.8,
            **more,
        )

    async def _pull(self, name: str) -> None:
        await self.world.both("pull", self._request(name))

    async def _left(self, name: str) -> None:
        """A pull that is cancelled before it could return lines: as if it had not been."""
        turn = self.random.choice((1, 2, 3))
        try:
            answer = await interrupted(self.world.sqlite.pull(self._request(name)), turn)
        except (asyncio.CancelledError, BatchqError):
            return
        # It was quicker.
        if isinstance(answer, Pulled):
            taken = PullRequest(name, max=answer.lines, max_bytes=len(answer.data), wait=0.0)
            assert await _answer(self.world.memory, "pull", taken) == answer

    async def _leased(self, name: str) -> None:
        known = self.leases[name]
        lease_id = self.random.choice((None, *known[-2:]))
        request = self._request(name, lease=self.random.choice((5.0, 500.0)), lease_id=lease_id)
        answer = await self.world.both("pull", request)
        if isinstance(answer, Pulled) and answer.lease is not None:
            known.append(answer.lease.id)

    async def _ack(self, name: str) -> None:
        await self._end_leases("ack", name)

    async def _release(self, name: str) -> None:
        await self._end_leases("release", name)

    async def _end_leases(self, verb: str, name: str) -> None:
        known = self.leases[name]
        chosen = self.random.sample(known, min(len(known), self.random.randrange(1, 4)))
        if chosen:
            await self.world.both(verb, name, chosen, None)

    async def _close(self, name: str) -> None:
        await self.world.both("close", CloseRequest(name, digest="xxh3-128:" + "0" * 32))

    async def _delete(self, name: str) -> None:
        await self.world.both("delete", name, None)

    async def _time(self, _name: str) -> None:
        self.world.now += self.random.choice((1.0, 6.0, 60.0))
        for kept in (self.world.memory, self.world.sqlite):
            kept._tick()
        await tidied(self.world.sqlite)
        await self.world.both("queues")

    async def _restart(self, _name: str) -> None:
        await self.world.restart(kill=self.random.random() < 0.5)
        await self.world.both("queues")


@pytest.mark.parametrize("seed", range(24))
async def test_the_same_answers_as_in_memory(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With little memory and small reads, so that most pulls go to the file."""
    monkeypatch.setattr(readers, "READ_AHEAD", (1, 100, 10_000)[seed % 3])
    monkeypatch.setattr(store, "MIB", 0)
    world = _World(path, memory=(0, 4_000, 40_000)[seed // 3 % 3])
    await world.sqlite.start()
    steps = _Steps(world, seed)
    for _ in range(150):
        await steps.step()
    for name in _NAMES:
        await world.both("pull", PullRequest(name, max_bytes=1 << 20, wait=0.0))
    await world.sqlite.stop()
