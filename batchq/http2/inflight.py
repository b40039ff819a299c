"""What request bodies that are not complete may hold together, and who may send more.

Up to a quarter of the budget every body grows as fast as it comes. Above that the oldest go
first: a body grows on a pass, which promises it room for all that it may still bring, so
that what has begun is finished and nobody waits for nothing. The others keep what they
have, and their clients the window that they were given: it is promised as well, until they
have been silent for a while. The first windows are given before it is known what comes:
when so many use them that the budget is spent, the youngest body of the connection that
holds most is refused, which is safe to send again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

# What a piece costs beside its bytes: who sends them one by one pays for it.
_PIECE = 48


class Pool:
    """What the bodies of a connection hold, or all of them.

    Args:
        limit: bytes that it may be.
    """

    __slots__ = ("held", "limit", "loads", "loose", "passes", "promised")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.loose = 0  # the part of ``held`` that is held without a pass
        self.promised = 0  # bytes that are let come
        self.passes = 0
        self.loads: dict[Load, None] = {}  # the oldest first

    @property
    def free(self) -> bool:
        """Whether every body may grow."""
        return self.held <= self.limit // 4

    def fits(self, size: int) -> bool:
        """Whether ``size`` more bytes may be promised; the first pass is always given."""
        return not self.passes or self.held + self.promised + size <= self.limit

    def youngest(self) -> Load | None:
        """Return the body to refuse: none that has a pass, while there is another."""
        found = None
        for load in reversed(self.loads):
            if load.held and not load.passed:
                return load
            if load.held and found is None:
                found = load
        return found


class Load:
    """What one body holds. It is made by ``InFlight.open``.

    Attributes:
        age: above that of all older ones.
        rest: bytes that it may still bring.
        held: bytes that count for it.
        promised: bytes that it is let bring.
        passed: these are all of the rest.
        waits: for a pass.
        fed: something came since it was looked at last.
    """

    __slots__ = (
        "_closed",
        "_inflight",
        "age",
        "fed",
        "grow",
        "held",
        "passed",
        "pools",
        "promised",
        "refuse",
        "rest",
        "waits",
    )

    def __init__(
        self,
        inflight: InFlight,
        pools: tuple[Pool, Pool],
        rest: int,
        grow: Callable[[], None],
        refuse: Callable[[], None] | None,
    ) -> None:
        self._inflight = inflight
        self._closed = False
        self.pools = pools
        self.age = inflight.next_age()
        self.rest = rest
        self.held = 0
        self.promised = 0
        self.passed = False
        self.waits = False
        self.fed = True
        self.grow = grow
        self.refuse = refuse

    def add(self, size: int) -> None:
        """Count ``size`` more bytes in, which may get a body refused: this one, or another."""
        if self._closed:
            return
        cost = size + _PIECE
        self.fed = True
        self.held += cost
        self.rest -= size
        self._promise(-min(size, self.promised))
        for pool in self.pools:
            pool.held += cost
            if not self.passed:
                pool.loose += cost
        self._inflight.relieve(self.pools[0])

    def may_grow(self) -> bool:
        """Whether the client may be let send more; if not, ``grow`` is called once it may."""
        if self.passed or (self.pools[0].free and self.pools[1].free):
            return True
        if not (self.waits or self._closed):
            self._inflight.wait(self)
        return False

    def promise(self, size: int) -> None:
        """Count what its client has been let send."""
        self._promise(min(size, self.rest - self.promised))

    def _promise(self, change: int) -> None:
        self.promised += change
        for pool in self.pools:
            pool.promised += change

    def take_pass(self) -> None:
        """Get room for all that is to come."""
        self.passed = self.fed = True
        self._promise(self.rest - self.promised)
        for pool in self.pools:
            pool.passes += 1
            pool.loose -= self.held

    def release(self) -> None:
        """Leave what was promised to others."""
        self._promise(-self.promised)
        if self.passed:
            self.passed = False
            for pool in self.pools:
                pool.passes -= 1
                pool.loose += self.held

    def close(self) -> None:
        """The body is complete, or nobody wants it: it counts no more."""
        if self._closed:
            return
        self._closed = True
        self.release()
        for pool in self.pools:
            pool.held -= self.held
            pool.loose -= self.held
        self._inflight.closed(self)


class InFlight:
    """All bodies of a process that are not complete.

    Args:
        limit: bytes that they may hold; those of one connection half of it.
        patience: seconds that a body may be silent before what it was promised is free for
            those that wait.

    Attributes:
        whole: what they hold.
    """

    def __init__(self, limit: int, patience: float) -> None:
        self.whole = Pool(limit)
        self._loads: set[Load] = set()
        self._patience = patience
        self._ages = count()
        self._used: dict[Pool, None] = {}  # of connections, with bodies that can be refused
        self._waiting: set[Load] = set()
        self._timer: asyncio.TimerHandle | None = None

    def pool(self) -> Pool:
        """Return what a new connection counts its bodies in."""
        return Pool(self.whole.limit // 2)

    def open(
        self,
        pool: Pool,
        rest: int,
        grow: Callable[[], None],
        refuse: Callable[[], None] | None = None,
    ) -> Load:
        """Begin to count a body.

        Args:
            pool: its connection's.
            rest: bytes that it may bring at most.
            grow: lets its client send more.
            refuse: ends it; without it, it is never refused.
        """
        load = Load(self, (pool, self.whole), rest, grow, refuse)
        self._loads.add(load)
        if refuse is not None:
            pool.loads[load] = None
            self._used[pool] = None
        return load

    def next_age(self) -> int:
        """Return a number above all that it has returned before."""
        return next(self._ages)

    def wait(self, load: Load) -> None:
        """Let a body grow as soon as it may."""
        load.waits = True
        self._waiting.add(load)
        self._serve()
        if self._waiting and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience, self._sweep)

    def closed(self, load: Load) -> None:
        """A body counts no more: others may grow."""
        pool = load.pools[0]
        self._loads.discard(load)
        pool.loads.pop(load, None)
        if not pool.loads:
            self._used.pop(pool, None)
        self._waiting.discard(load)
        self._serve()

    def relieve(self, pool: Pool) -> None:
        """Refuse bodies until a connection, and then all, hold no more than they may.

        One that is alone on its connection may go on: it is as large as bodies may be.
        """
        while pool.held > pool.limit and len(pool.loads) > 1 and self._refuse_one(pool):
            pass
        while self.whole.held > self.whole.limit and self._used:
            if not self._refuse_one(max(self._used, key=lambda used: used.loose)):
                return

    def _refuse_one(self, pool: Pool) -> bool:
        load = pool.youngest()
        if load is None or load.refuse is None:
            return False
        load.refuse()
        load.close()
        return True

    def _serve(self) -> None:
        """Let those grow that may, the oldest first: none is overtaken for being large."""
        if not self._waiting:
            return
        full: set[Pool] = set()
        for load in sorted(self._waiting, key=lambda waiting: waiting.age):
            pool = load.pools[0]
            if not (pool.free and self.whole.free):
                missing = load.rest - load.promised
                if not self.whole.fits(missing):
                    return
                if pool in full or not pool.fits(missing):
                    full.add(pool)
                    continue
                load.take_pass()
            load.waits = False
            self._waiting.discard(load)
            load.grow()

    def _sweep(self) -> None:
        """Take from those that make no use of it what they were promised."""
        self._timer = None
        for load in self._loads:
            if not load.fed:
                load.release()
            load.fed = False
        self._serve()
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience, self._sweep)
