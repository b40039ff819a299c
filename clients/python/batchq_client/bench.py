"""Push, pull and round-trip figures of one server: the engine of ``batchq bench``.

All goes through a scratch queue of a random name, which is deleted at the end, whatever the
end is. What the server has to hold at once is bounded, so that a small one can be measured.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from batchq_client.client import Client
from batchq_client.errors import ClientError, NoSuchQueue, NotSent, QueueFull, Refused
from batchq_client.model import Nothing, Pulled, Pushed

LINE_BYTES: Final = 20
"""Bytes of a line without its newline."""

_ROUND_BYTES: Final = 64 * 1024 * 1024
"""What is pushed before it is pulled again: the most that the server holds for it, about."""

_TRIPS_SHARE: Final = 0.2
"""The part of the time that goes to round trips of single lines."""

_GRACE_SECONDS: Final = 15.0
"""How long after its time a measurement waits for the last answers."""

_DELETE_SECONDS: Final = 5.0

_MEGABYTE: Final = 1e6


class BenchError(Exception):
    """The server did not do what was measured: lines missing, or no answer in time."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How a server is measured.

    Attributes:
        batch_bytes: payload bytes of a batch, about: whole lines, at least one.
        in_flight: requests under way at once.
        seconds: for how long, in all; requests under way then are waited for.
    """

    batch_bytes: int = 1024 * 1024
    in_flight: int = 4
    seconds: float = 5.0


@dataclass(slots=True)
class Figure:
    """What one kind of call reached.

    Attributes:
        name: ``push``, ``pull`` or ``round trip`` (one line pushed, then pulled).
        requests: how many were answered.
        lines: how many they moved.
        bytes: payload bytes of these, newlines included.
        seconds: how long it took.
        latencies: seconds of each request; for a round trip, of its two requests together.
    """

    name: str
    requests: int = 0
    lines: int = 0
    bytes: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median latency, in seconds; 0 without requests."""
        return statistics.median(self.latencies) if self.latencies else 0.0

    @property
    def p99(self) -> float:
        """The latency, in seconds, that 99 in 100 did not exceed; 0 without requests."""
        ranked = sorted(self.latencies)
        return ranked[math.ceil(len(ranked) * 0.99) - 1] if ranked else 0.0

    def rate(self, amount: float) -> float:
        """An amount of this figure per second."""
        return amount / self.seconds if self.seconds > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """The figure as JSON values; names carry the units."""
        return {
            "name": self.name,
            "requests": self.requests,
            "lines": self.lines,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "lines_per_second": round(self.rate(self.lines), 1),
            "megabytes_per_second": round(self.rate(self.bytes) / _MEGABYTE, 3),
            "requests_per_second": round(self.rate(self.requests), 1),
            "latency_median_ms": round(self.median * 1e3, 3),
            "latency_p99_ms": round(self.p99 * 1e3, 3),
        }


@dataclass(slots=True)
class BenchReport:
    """What a server reached.

    Attributes:
        url: the server.
        level: what a push that was answered survives on it.
        options: how it was measured.
        seconds: how long it took in all.
        figures: push, pull and round trip.
    """

    url: str
    level: str
    options: BenchOptions
    seconds: float
    figures: list[Figure]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; names carry the units."""
        return {
            "url": self.url,
            "level": self.level,
            "batch_bytes": self.options.batch_bytes,
            "in_flight": self.options.in_flight,
            "line_bytes": LINE_BYTES,
            "seconds": round(self.seconds, 3),
            "figures": [figure.as_json() for figure in self.figures],
        }


async def measure(url: str, options: BenchOptions | None = None) -> BenchReport:
    """Measures a server.

    Args:
        url: the server's URL.
        options: how; by default batches of 1 MiB, four in flight, five seconds.

    Raises:
        ValueError: the URL is not a server's.
        ClientError: the server can't be reached, or refused.
        BenchError: lines got lost, or an answer took too long.
    """
    settled = options or BenchOptions()
    began = time.monotonic()
    async with Client(url) as client:
        health = await client.healthz()
        async with _scratch(client) as queue:
            try:
                async with asyncio.timeout(settled.seconds + _GRACE_SECONDS):
                    figures = await _Bench(client, queue, settled).run()
            except TimeoutError:
                raise BenchError(f"no answer from {url} for {_GRACE_SECONDS:g} s") from None
        took = time.monotonic() - began
        return BenchReport(client.base_url, health.level, settled, took, figures)


@dataclass(frozen=True, slots=True)
class _Queue:
    """A queue's name and life. What names the life can't bring a deleted queue back."""

    name: str
    life: str


@asynccontextmanager
async def _scratch(client: Client) -> AsyncIterator[_Queue]:
    """Makes a queue for the length of a block.

    Raises:
        BenchError: it could not be deleted; another error of the block has a note that says so.
    """
    name = f"batchq-bench-{secrets.token_hex(8)}"
    making = asyncio.ensure_future(client.push(name, b""))
    try:
        # Shielded: a push that is given up may still arrive, and after the deletion.
        made = await asyncio.shield(making)
        yield _Queue(name, made.queue_id)
    except BaseException as error:
        left = await _delete(client, name, making)
        if left:
            error.add_note(left)
        raise
    left = await _delete(client, name, making)
    if left:
        raise BenchError(left)


async def _delete(client: Client, name: str, making: asyncio.Future[Pushed]) -> str:
    """Deletes the queue; gives what is to be said when it is still there."""
    try:
        async with asyncio.timeout(_DELETE_SECONDS):
            await asyncio.wait({making})
            if not isinstance(making.exception(), Refused | NotSent):
                await client.delete(name)
    except NoSuchQueue:
        return ""
    except (ClientError, TimeoutError) as fault:
        return f"the queue {name} could not be deleted: {str(fault) or 'no answer'}"
    return ""


class _Bench:
    """One measurement on one queue."""

    def __init__(self, client: Client, queue: _Queue, options: BenchOptions) -> None:
        self._client = client
        self._queue = queue
        self._options = options
        self._lines = max(1, options.batch_bytes // (LINE_BYTES + 1))
        self._payload = _lines(self._lines)
        self._push = Figure("push")
        self._pull = Figure("pull")
        self._full = False

    async def run(self) -> list[Figure]:
        """Round trips first, while the queue is empty; then push and pull in turn."""
        end = time.monotonic() + self._options.seconds
        trips = await self._trips(time.monotonic() + self._options.seconds * _TRIPS_SHARE)
        while not self._push.requests or time.monotonic() < end:
            # Half of what is left, so that on a slow link there is time to pull as well.
            await self._fill(time.monotonic() + (end - time.monotonic()) / 2)
            await self._drain(end)
        return [self._push, self._pull, trips]

    async def _trips(self, end: float) -> Figure:
        figure = Figure("round trip")
        line = self._payload[: LINE_BYTES + 1]
        began = time.perf_counter()
        # One that is not counted: it opens the connections.
        for number in range(10**9):
            start = time.perf_counter()
            await self._client.push(self._queue.name, line, queue_id=self._queue.life)
            answer = await self._client.pull(
                self._queue.name, maximum=1, wait=5, queue_id=self._queue.life
            )
            if not isinstance(answer, Pulled) or answer.data != line:
                raise BenchError("a line that was pushed did not come back")
            if not number:
                began = time.perf_counter()
                continue
            figure.latencies.append(time.perf_counter() - start)
            figure.seconds = time.perf_counter() - began
            if time.monotonic() >= end:
                break
        figure.lines = len(figure.latencies)
        figure.requests = 2 * figure.lines
        figure.bytes = len(line) * figure.lines
        return figure

    async def _fill(self, end: float) -> None:
        """Pushes until the time is over, a round's bytes are sent, or the queue is full."""
        figure, size = self._push, len(self._payload)
        pending = iter(range(max(self._options.in_flight, _ROUND_BYTES // size)))

        async def work() -> None:
            for _ in pending:
                if self._full:
                    return
                start = time.perf_counter()
                try:
                    await self._client.push(
                        self._queue.name, self._payload, queue_id=self._queue.life
                    )
                except QueueFull:
                    if not figure.requests:
                        raise
                    self._full = True
                    return
                _count(figure, start, self._lines, size)
                if time.monotonic() >= end:
                    return

        self._full = False
        await self._together(figure, work)

    async def _drain(self, end: float) -> None:
        """Pulls until the queue is empty or the time is over."""
        figure = self._pull

        async def work() -> None:
            while figure.lines < self._push.lines:
                start = time.perf_counter()
                answer = await self._client.pull(
                    self._queue.name,
                    max_bytes=len(self._payload),
                    wait=0,
                    queue_id=self._queue.life,
                )
                if isinstance(answer, Pulled):
                    _count(figure, start, answer.lines, len(answer.data))
                elif isinstance(answer, Nothing):
                    return
                else:
                    raise BenchError("the queue was closed by somebody else")
                if figure.requests and time.monotonic() >= end:
                    return

        await self._together(figure, work)
        if figure.lines != self._push.lines and time.monotonic() < end:
            raise BenchError(f"{self._push.lines} lines were pushed, {figure.lines} came back")

    async def _together(self, figure: Figure, work: Callable[[], Awaitable[None]]) -> None:
        began = time.perf_counter()
        tasks = [asyncio.ensure_future(work()) for _ in range(self._options.in_flight)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            figure.seconds += time.perf_counter() - began


def _count(figure: Figure, start: float, lines: int, size: int) -> None:
    figure.latencies.append(time.perf_counter() - start)
    figure.requests += 1
    figure.lines += lines
    figure.bytes += size


def _lines(count: int) -> bytes:
    digits = os.urandom(count * LINE_BYTES // 2).hex()
    step = range(0, len(digits), LINE_BYTES)
    return ("\n".join(digits[at : at + LINE_BYTES] for at in step) + "\n").encode()
