"""The same machines over Redis: one server.

The order of those that wait, which they compare, is promised by one server only; two are
held to the contract (``tests/contract``).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from hypothesis import Phase, settings
from model.pair import Pair
from model.test_machine import QueueMachine, RoomyMachine
from redis import Redis
from support.redis_loop import BusyLoop
from support.redis_single import SingleRedis
from support.redis_stores import on_loop_time

from batchq.model import Limits
from batchq.stores.base import Store

_SHARE = 10
"""Redis answers over a socket: one example for so many of the memory store's."""


_PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without making failures smaller: each try takes its time."""


class UnderRedis:
    """A Redis store with keys of its own."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.loop = BusyLoop()
        store = on_loop_time(url, limits)
        self.loop.busy = lambda: store.busy
        self.store: Store = store
        self._store = store
        self._url = url

    def left(self) -> object:
        prefix = self._store._target.options.prefix
        with Redis.from_url(self._url) as client:
            keys = [key.decode() for key in client.keys(f"{prefix}:*")]
        # Records go in Redis's time, which a test does not move.
        lasting = [key for key in keys if ":record:" not in key and not key.endswith(":records")]
        slots = list(self._store._opened().slots.values())
        return [*lasting, *slots]


class _OverRedis:
    limits: ClassVar[Limits]
    url: ClassVar[str]

    def make_pair(self) -> Pair:
        under: Any = UnderRedis(self.url, self.limits)
        pair = Pair(self.limits, under)
        pair.in_order = False  # each has a connection of its own
        return pair


class RedisMachine(_OverRedis, QueueMachine):
    """One server, and queues that are soon full."""


class RoomyRedisMachine(_OverRedis, RoomyMachine):
    """One server, and batches ahead of their turn."""


class _Served:
    """Starts a Redis for the examples of a class."""

    machine: ClassVar[type[_OverRedis]]
    server: ClassVar[SingleRedis]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = SingleRedis()
        cls.machine.url = cls.server.url

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.stop()


def _fewer() -> Any:
    return settings(max_examples=max(1, settings().max_examples // _SHARE), phases=_PHASES)


class TestRedisMachine(_Served, RedisMachine.TestCase):  # type: ignore[misc, valid-type]
    machine = RedisMachine
    settings = _fewer()


class TestRoomyRedisMachine(_Served, RoomyRedisMachine.TestCase):  # type: ignore[misc, valid-type]
    machine = RoomyRedisMachine
    settings = _fewer()
