"""nats-server's JetStream as a queue: a message a line, published with ack, fetched and acked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import nats
from nats.js.api import RetentionPolicy, StorageType

from benchmarks.driver import timed
from benchmarks.peers.base import Moved, Peer

LINES_PER_FETCH = 1_000
PENDING = 1_000


class Nats(Peer):
    """JetStream in memory."""

    name = "nats"
    about = "JetStream publish, fetch + ack, a message a line"
    client = "nats-py"
    settings = (
        f"memory storage, work queue, {PENDING:,} publishes pending, fetch {LINES_PER_FETCH:,}"
    )
    programs: ClassVar[Mapping[str, str]] = {"nats-server": "nats-server"}
    tuned: ClassVar[Mapping[str, Any]] = {"in_flight": PENDING}
    lines_cap = 100_000

    def __init__(self, directory: str, port: int = 0, **conditions: Any) -> None:
        """Prepare one half; see `Peer`."""
        super().__init__(directory, port, **conditions)
        self._nats: Any = None
        self._stream = ""
        self._pushed = [0, 0]

    @property
    def lines_per_call(self) -> int:
        """How many lines one round of pending publishes carries."""
        return LINES_PER_FETCH

    def command(self, port: int) -> Sequence[str]:
        """Give the command of a server with JetStream on."""
        data = str(self.directory / "data")
        return ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", data]

    async def open(self) -> None:
        """Connect."""
        await super().open()
        self._nats = await nats.connect(f"nats://127.0.0.1:{self.port}")

    async def close(self) -> None:
        """Disconnect."""
        if self._nats is not None:
            await self._nats.close()

    async def push(self, lines: int) -> Moved:
        """Publish each line and wait for the server's ack of every one."""
        context = self._nats.jetstream(publish_async_max_pending=PENDING)
        if self._stream:
            await context.delete_stream(self._stream)
        self._stream = self.fresh()
        await context.add_stream(
            name=self._stream,
            subjects=[self._stream],
            storage=StorageType.MEMORY,
            retention=RetentionPolicy.WORK_QUEUE,
        )
        batches = list(self.batches(lines))
        messages = [line for batch in batches for line in batch.payload.split(b"\n")[:-1]]
        started = time.perf_counter()
        acks = [await context.publish_async(self._stream, line) for line in messages]
        await asyncio.gather(*acks)
        self._pushed = [len(messages), sum(len(batch.payload) for batch in batches)]
        return timed(started, *self._pushed)

    async def pull(self) -> Moved:
        """Fetch and ack until all has come."""
        context = self._nats.jetstream()
        reader = await context.pull_subscribe(self._stream, durable="reader")
        lines = 0
        started = time.perf_counter()
        while lines < self._pushed[0]:
            messages = await reader.fetch(LINES_PER_FETCH, timeout=5)
            for message in messages:
                await message.ack()
            lines += len(messages)
        await self._nats.flush()
        return timed(started, lines, self._pushed[1])
