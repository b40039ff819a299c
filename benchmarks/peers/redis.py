"""redis-server as a queue: a list of lines, a list of blocks, a stream of lines.

Nothing is saved to disk, so it is compared with the memory store. Lines are split and made
into arguments before the clock starts: the calls are all that is measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import redis

from benchmarks.driver import timed
from benchmarks.peers.base import Moved, Peer

LINES_PER_CALL = 10_000
STREAM_LINES_PER_CALL = 1_000


class RedisPeer(Peer):
    """What the three share: the server and a connection."""

    client = "redis-py with hiredis"
    programs: ClassVar[Mapping[str, str]] = {"redis-server": "redis-server"}

    def __init__(self, directory: str, port: int = 0, **conditions: Any) -> None:
        """Prepare one half; see `Peer`."""
        super().__init__(directory, port, **conditions)
        self._redis: Any = None
        self._key = ""
        self._pushed = [0, 0]

    def command(self, port: int) -> Sequence[str]:
        """Give the command of a server that keeps all in memory."""
        options = f"--port {port} --bind 127.0.0.1 --appendonly no --dir {self.directory}"
        return ["redis-server", *options.split(), "--save", ""]

    async def open(self) -> None:
        """Connect."""
        await super().open()
        # The blocking client: quicker than redis.asyncio with calls this large.
        self._redis = redis.Redis(port=self.port, socket_timeout=60, protocol=3)
        self._redis.ping()

    async def close(self) -> None:
        """Disconnect."""
        if self._redis is not None:
            self._redis.close()

    def begin(self) -> None:
        """Drop what an earlier call left, and take a new key."""
        if self._key:
            self._redis.delete(self._key)
        self._key = self.fresh()
        self._pushed = [0, 0]

    def check(self, lines: int) -> None:
        """Raise RuntimeError when not all lines came back."""
        if lines != self._pushed[0]:
            raise RuntimeError(f"{self.name}: {lines} lines came back of {self._pushed[0]}")


class RedisLine(RedisPeer):
    """A value a line: RPUSH and LPOP of 10,000 lines a call."""

    name = "redis per line"
    about = f"redis list, RPUSH and LPOP of {LINES_PER_CALL:,} lines a call"
    settings = "no persistence, blocking client, one call in flight"
    tuned: ClassVar[Mapping[str, Any]] = {"in_flight": 1}

    @property
    def lines_per_call(self) -> int:
        """How many lines one call carries."""
        return LINES_PER_CALL

    async def push(self, lines: int) -> Moved:
        """RPUSH call after call."""
        self.begin()
        calls = [batch.payload.split(b"\n")[:-1] for batch in self.batches(lines)]
        size = sum(len(batch.payload) for batch in self.batches(lines))
        started = time.perf_counter()
        for call in calls:
            self._redis.rpush(self._key, *call)
        self._pushed = [len(calls) * LINES_PER_CALL, size]
        return timed(started, *self._pushed)

    async def pull(self) -> Moved:
        """LPOP call after call until nothing is left."""
        lines = 0
        started = time.perf_counter()
        while values := self._redis.lpop(self._key, LINES_PER_CALL):
            lines += len(values)
        moved = timed(started, lines, self._pushed[1])
        self.check(lines)
        return moved


class RedisBlock(RedisPeer):
    """A value a batch: the payload is opaque to the server, nothing counts its lines."""

    name = "redis per block"
    about = "redis list, one value of 1 MiB a call"
    settings = "no persistence, blocking client, pipelines of 4 calls"

    async def push(self, lines: int) -> Moved:
        """RPUSH whole payloads."""
        self.begin()
        batches = list(self.batches(lines))
        started = time.perf_counter()
        for at in range(0, len(batches), self.conditions.in_flight):
            pipe = self._redis.pipeline(transaction=False)
            for batch in batches[at : at + self.conditions.in_flight]:
                pipe.rpush(self._key, batch.payload)
            pipe.execute()
        self._pushed = [sum(b.lines for b in batches), sum(len(b.payload) for b in batches)]
        return timed(started, *self._pushed)

    async def pull(self) -> Moved:
        """LPOP whole payloads."""
        size = 0
        done = False
        started = time.perf_counter()
        while not done:
            pipe = self._redis.pipeline(transaction=False)
            for _ in range(self.conditions.in_flight):
                pipe.lpop(self._key)
            for value in pipe.execute():
                if value is None:
                    done = True
                else:
                    size += len(value)
        moved = timed(started, self._pushed[0], size)
        if size != self._pushed[1]:
            raise RuntimeError(f"{size} bytes came back of {self._pushed[1]}")
        return moved


class RedisStream(RedisPeer):
    """An entry a line, read by a group and acknowledged."""

    name = "redis stream"
    about = f"XADD pipelined, XREADGROUP + XACK, {STREAM_LINES_PER_CALL:,} lines a call"
    settings = "no persistence, blocking client, pipelined"
    tuned: ClassVar[Mapping[str, Any]] = {"in_flight": 1}

    @property
    def lines_per_call(self) -> int:
        """How many lines one pipeline carries."""
        return STREAM_LINES_PER_CALL

    async def push(self, lines: int) -> Moved:
        """XADD in pipelines."""
        self.begin()
        self._redis.xgroup_create(self._key, "readers", id="0", mkstream=True)
        batches = list(self.batches(lines))
        calls = [[{b"l": line} for line in b.payload.split(b"\n")[:-1]] for b in batches]
        started = time.perf_counter()
        for call in calls:
            pipe = self._redis.pipeline(transaction=False)
            for fields in call:
                pipe.xadd(self._key, fields)
            pipe.execute()
        self._pushed = [sum(b.lines for b in batches), sum(len(b.payload) for b in batches)]
        return timed(started, *self._pushed)

    async def pull(self) -> Moved:
        """XREADGROUP, then XACK of what it gave."""
        lines = 0
        started = time.perf_counter()
        while lines < self._pushed[0]:
            answer = self._redis.xreadgroup(
                "readers", "one", {self._key: ">"}, count=STREAM_LINES_PER_CALL
            )
            streams = answer.values() if isinstance(answer, dict) else [a[1] for a in answer or []]
            entries = [entry for stream in streams for entry in _flat(stream)]
            if not entries:
                break
            self._redis.xack(self._key, "readers", *[entry[0] for entry in entries])
            lines += len(entries)
        moved = timed(started, lines, self._pushed[1])
        self.check(lines)
        return moved


def _flat(stream: list[Any]) -> list[Any]:
    """Undo the extra list that RESP3 answers put around a stream's entries."""
    return stream[0] if stream and isinstance(stream[0], list) else stream
