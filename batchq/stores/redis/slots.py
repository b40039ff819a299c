"""What one server alone knows of a queue: who waits, and for what.

Waiting pulls, parked batches and pushes that wait for room stay in the server that got
them; nothing of it is in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from batchq.broker.state import ParkKey
from batchq.broker.timers import Timer
from batchq.model import CloseRequest, End, PullAnswer, PullRequest, Pushed, PushRequest
from batchq.stores.redis.fates import Fates
from batchq.stores.redis.state import State


@dataclass(slots=True, eq=False)
class Call:
    """A call until it is answered.

    Attributes:
        op: its number, random; the same each time it is sent.
        future: its answer.
        timer: when its wait is over.
        over: its wait is over.
        doubtful: copies of it may still be on their way.
    """

    op: str
    future: asyncio.Future[Any]
    timer: Timer | None = None
    over: bool = False
    doubtful: bool = False

    def answer(self, answer: PullAnswer | Pushed | End | Exception) -> None:
        """Gives the answer, unless one was given."""
        if self.future.done():
            return
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
            self.future.exception()  # whoever has left does not have to hear of it
        else:
            self.future.set_result(answer)


@dataclass(slots=True, eq=False, kw_only=True)
class PullCall(Call):
    """A pull.

    Attributes:
        request: for what.
        lost: those of its ``ack`` that were unknown.
        acked: its ``ack`` is done.
        due: it has to be tried, whatever is known of the queue.
        trying: it is on its way to Redis; set when it no longer is.
        taken: it was given lines.
    """

    request: PullRequest
    lost: tuple[str, ...] = ()
    acked: bool = False
    due: bool = True
    trying: asyncio.Event | None = None
    taken: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class PushCall(Call):
    """A push or a close.

    Attributes:
        request: what.
        patience: when it stops waiting for room, in seconds of the server's clock.
    """

    request: PushRequest | CloseRequest
    patience: float = 0.0

    @property
    def size(self) -> int:
        """Payload bytes."""
        return len(self.request.batch.data) if isinstance(self.request, PushRequest) else 0


@dataclass(slots=True, eq=False)
class Lane:
    """Lets one numbered batch of a producer on its way at a time.

    Attributes:
        lock: is held by the one.
        users: how many hold it or wait for it.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


@dataclass(slots=True, eq=False)
class Place:
    """A parked batch's place.

    Attributes:
        calls: those that brought it, and what bears the same number and is something else.
        size: payload bytes that it holds.
        expected: the sequence number that its producer's next batch has, as last heard.
        timer: when waiting for the gap before it ends.
        due: it has to be tried, whatever is known of the producer.
    """

    calls: list[PushCall]
    size: int
    expected: int
    timer: Timer | None = None
    due: bool = False


@dataclass(slots=True, eq=False)
class Slot:
    """A queue's name, as this server sees it.

    Attributes:
        name: the queue's name.
        key: its base key in Redis, and its channel.
        state: the last that was heard of it.
        learned: when that was, as the hub counts.
        producers: epoch and sequence number of each producer that was heard of, in this life.
        waiters: pulls that are not answered, in the order they came.
        trying: how many of them are on their way to Redis.
        parked: batches ahead of their turn.
        room: pushes that wait for room, in the order they came.
        parked_bytes, room_bytes: what these hold.
        lanes: one numbered batch of a producer is on its way at a time, by producer.
        fates: what Redis has yet to be told of calls that are over.
        stale: what is known of it may be out of date.
        dirty: those who wait have to be looked at.
        pump: looks at them.
        following: hears of its changes, or is about to.
        due: when something falls due in Redis.
        linger: when its changes are no longer listened to.
        again: when it is looked at again although nobody said anything.
        uses: calls that are on their way.
    """

    name: str
    key: str
    state: State = field(default_factory=State)
    learned: int = 0
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)
    waiters: dict[PullCall, None] = field(default_factory=dict)
    trying: int = 0
    parked: dict[ParkKey, Place] = field(default_factory=dict)
    room: dict[PushCall, None] = field(default_factory=dict)
    parked_bytes: int = 0
    room_bytes: int = 0
    lanes: dict[str, Lane] = field(default_factory=dict)
    fates: Fates = field(default_factory=Fates)
    stale: bool = False
    dirty: bool = False
    pump: asyncio.Task[None] | None = None
    following: bool = False
    due: Timer | None = None
    linger: Timer | None = None
    again: Timer | None = None
    uses: int = 0

    @asynccontextmanager
    async def lane(self, producer: str) -> AsyncIterator[None]:
        """Waits for a producer's turn; a lane that nobody uses is forgotten."""
        lane = self.lanes.setdefault(producer, Lane())
        lane.users += 1
        try:
            async with lane.lock:
                yield
        finally:
            lane.users -= 1
            if not lane.users:
                del self.lanes[producer]

    @property
    def waited_for(self) -> bool:
        """Someone waits for something of it."""
        return bool(self.waiters or self.parked or self.room)

    @property
    def idle(self) -> bool:
        """Nothing would be lost if it were forgotten, but what can be heard again."""
        busy = self.uses or self.fates or self.pump or self.following
        return not (busy or self.waited_for or self.due or self.again)
