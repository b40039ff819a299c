"""batchq and what is measured against it over its own HTTP: the floor, one line a request.

The client is `httpx.AsyncClient` over a transport: stock, or batchq's own. This file
knows the calls and headers that it uses, and no more of the protocol.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import httpx

from benchmarks import loads
from benchmarks.driver import timed
from benchmarks.peers.base import Moved, Peer, python

TIMEOUT = httpx.Timeout(60)

ENVIRONMENT = {"BATCHQ_MAX_QUEUE_BYTES": str(8 * 2**30), "BATCHQ_MAX_QUEUES": "20000"}
"""What the batchq servers are given beside their defaults: room for the deepest runs."""


def batchq_command() -> str | None:
    """Find the `batchq` command: beside this interpreter, else on the path."""
    beside = Path(sys.executable).with_name("batchq")
    return str(beside) if beside.exists() else shutil.which("batchq")


class HttpPeer(Peer):
    """A contender that is pushed to and pulled from over HTTP/2."""

    pull_method: ClassVar[str] = "POST"

    def __init__(self, directory: str, port: int = 0, **conditions: Any) -> None:
        """Prepare one half; see `Peer`."""
        super().__init__(directory, port, **conditions)
        self._http: httpx.AsyncClient | None = None
        self._queue = ""
        self._expected = 0

    def transport(self) -> httpx.AsyncBaseTransport:
        """Make the transport: stock httpx, HTTP/2 by prior knowledge, one connection."""
        limits = httpx.Limits(max_connections=self.conditions.connections)
        return httpx.AsyncHTTPTransport(http1=False, http2=True, limits=limits)

    async def open(self) -> None:
        """Make the batches and a client that connects with its first request."""
        await super().open()
        self._http = httpx.AsyncClient(
            transport=self.transport(),
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=TIMEOUT,
        )

    async def close(self) -> None:
        """Close the client with its connections."""
        if self._http is not None:
            await self._http.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        """The client; only after `open`."""
        if self._http is None:
            raise RuntimeError("open() comes first")
        return self._http

    async def reconnect(self, port: int) -> None:
        """Go on with a server that was started again on another port."""
        await self.close()
        self.port = port
        await self.open()

    async def push(self, lines: int) -> Moved:
        """Push to a new queue, `in_flight` requests at once."""
        self._queue = self.fresh()
        moved = [0, 0]
        batches = self.batches(lines)
        started = time.perf_counter()
        await _together(
            self.conditions.in_flight,
            lambda: self._push_worker(f"/push/{self._queue}", batches, moved),
        )
        self._expected = moved[0]
        return timed(started, moved[0], moved[1])

    async def _push_worker(
        self, path: str, batches: Iterator[loads.Batch], moved: list[int]
    ) -> None:
        for batch in batches:
            answer = await self.http.post(path, content=batch.payload)
            answer.raise_for_status()
            moved[0] += batch.lines
            moved[1] += len(batch.payload)

    async def pull(self) -> Moved:
        """Pull the pushed lines, `in_flight` requests at once."""
        moved = [0, 0]
        started = time.perf_counter()
        asked = [0]
        await _together(self.conditions.in_flight, lambda: self._pull_worker(moved, asked))
        if moved[0] != self._expected:
            raise RuntimeError(f"pulled {moved[0]} lines of {self._expected}")
        return timed(started, moved[0], moved[1])

    def pull_path(self) -> str:
        """Give the path and query of a pull of one batch."""
        return f"/pull/{self._queue}?wait=0&max_bytes={self.conditions.batch_bytes}"

    async def spread(self, queues: int, requests: int) -> dict[str, float]:
        """Push batches to many queues in turn, then pull them; seconds of each as `push`, `pull`.

        Args:
            queues: Over how many queues.
            requests: How many batches in all, at least one a queue.
        """
        batch = next(self.batches(1))
        names = [f"spread-{number % queues}" for number in range(requests)]
        seconds = {"lines": float(requests * batch.lines)}
        for figure, body in (("push", batch.payload), ("pull", b"")):
            query = "" if body else f"?wait=0&max_bytes={len(batch.payload)}"
            paths = iter([f"/{figure}/{name}{query}" for name in names])
            started = time.perf_counter()
            await _together(
                self.conditions.in_flight, lambda p=paths, b=body: self._send_worker(p, b)
            )
            seconds[figure] = time.perf_counter() - started
        return seconds

    async def _send_worker(self, paths: Iterator[str], body: bytes) -> None:
        for path in paths:
            answer = await self.http.post(path, content=body)
            if answer.status_code != httpx.codes.OK:
                raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")

    async def deepen(self, lines: int) -> int:
        """Push so many lines to the queue `deep`, which keeps them; return how many went."""
        moved = [0, 0]
        batches = self.batches(lines)
        await _together(
            self.conditions.in_flight, lambda: self._push_worker("/push/deep", batches, moved)
        )
        return moved[0]

    async def at_depth(self, lines: int) -> dict[str, Moved]:
        """Push to the queue `deep`, then pull as many batches off it: one `Moved` each."""
        started = time.perf_counter()
        pushed = timed(started, await self.deepen(lines), 0)
        moved = [0, 0]
        pulls = iter(range(-(-lines // self.lines_per_call)))
        started = time.perf_counter()
        await _together(self.conditions.in_flight, lambda: self._deep_worker(pulls, moved))
        pulled = timed(started, moved[0], moved[1])
        if pulled["lines"] != pushed["lines"]:
            raise RuntimeError(f"pulled {moved[0]} lines after {pushed['lines']} were pushed")
        return {"push": pushed, "pull": pulled}

    async def _deep_worker(self, pulls: Iterator[int], moved: list[int]) -> None:
        size = self.lines_per_call * (loads.LOADS[self.conditions.load].line_bytes + 1)
        for _ in pulls:
            answer = await self.http.post(f"/pull/deep?wait=0&max_bytes={size}")
            answer.raise_for_status()
            moved[0] += int(answer.headers.get("Batch-Lines", 0))
            moved[1] += len(answer.content)

    async def stream(self, lines: int, ahead: int) -> Moved:
        """Push and pull one queue at once, the writer at most `ahead` batches ahead."""
        self._queue = self.fresh()
        batches = list(self.batches(lines))
        room = asyncio.Semaphore(ahead)
        wanted, size = sum(b.lines for b in batches), sum(len(b.payload) for b in batches)
        pending = iter(batches)

        async def write() -> None:
            for batch in pending:
                await room.acquire()
                answer = await self.http.post(f"/push/{self._queue}", content=batch.payload)
                answer.raise_for_status()

        async def read() -> None:
            got = 0
            path = f"/pull/{self._queue}?wait=5&max_bytes={self.conditions.batch_bytes}"
            while got < wanted:
                answer = await self.http.post(path)
                answer.raise_for_status()
                got += int(answer.headers.get("Batch-Lines", 0))
                room.release()

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            for _ in range(self.conditions.in_flight):
                group.create_task(write())
        return timed(started, wanted, size)

    async def _pull_worker(self, moved: list[int], asked: list[int]) -> None:
        """Pull while more is left than what the pulls under way will bring.

        Args:
            moved: Lines and bytes that came so far, of all workers.
            asked: Lines that pulls under way are about to bring, of all workers. Without it the
                end of a short measurement is as many pulls that find nothing as are in flight.
        """
        path = self.pull_path()
        while moved[0] + asked[0] < self._expected:
            asked[0] += self.lines_per_call
            # As `batchq_client.Client` asks; another transport knows nothing of it.
            answer = await self.http.request(
                self.pull_method, path, extensions={"batchq.at_once": True}
            )
            asked[0] -= self.lines_per_call
            answer.raise_for_status()
            if answer.status_code == httpx.codes.NO_CONTENT:
                return
            moved[0] += int(answer.headers["Batch-Lines"])
            moved[1] += len(answer.content)


class Floor(HttpPeer):
    """The same work with nothing tuned."""

    name = "floor"
    about = "plain Quart on plain Hypercorn, plain httpx over HTTP/2"
    client = "httpx, stock HTTP/2 transport"
    settings = "all defaults"
    # With more pushes of 1 MiB in flight, stock against stock stalls until it times out.
    tuned: ClassVar[Mapping[str, Any]] = {"in_flight": 1}
    # httpx ends a POST without body by an empty DATA frame; plain Hypercorn drops the
    # connection when that comes after the answer.
    pull_method = "GET"
    # Stock Hypercorn ends a connection after 1,000 requests, streams open or not.
    requests_cap: ClassVar[int] = 400

    def command(self, port: int) -> Sequence[str]:
        """Give the command that serves the floor's app."""
        return python("-m", "benchmarks.peers.floor_app", "floor", str(port))

    async def push(self, lines: int) -> Moved:
        """Push over a connection of its own, so that the request cap is never met."""
        await self.close()
        await self.open()
        return await super().push(min(lines, self.requests_cap * self.lines_per_call))


class Batchq(HttpPeer):
    """Our server with our client."""

    name = "batchq"
    about = "batchq server, batchq client"
    settings = (
        " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items()) + ", else defaults"
    )
    client = "httpx over batchq's transport"

    def __init__(self, directory: str, port: int = 0, **conditions: Any) -> None:
        """Prepare one half; without a store it is the one in memory."""
        super().__init__(directory, port, **conditions)
        if self.conditions.store == "-":
            self.conditions = replace(self.conditions, store="memory:")

    @classmethod
    def missing(cls) -> str | None:
        """Say when the command is not installed."""
        return None if batchq_command() else "batchq not found: pip install -e ."

    def command(self, port: int) -> Sequence[str]:
        """Give the command that serves with the conditions' store."""
        store = self.conditions.store
        command = [batchq_command() or "batchq", "server", "--port", str(port), "--store", store]
        if store.startswith("sqlite"):
            command += ["--fsync", self.conditions.fsync]
        return command

    def environment(self) -> Mapping[str, str]:
        """Give the server what `settings` says."""
        return ENVIRONMENT

    def transport(self) -> httpx.AsyncBaseTransport:
        """Make batchq's own transport."""
        return own_transport()


def own_transport() -> httpx.AsyncBaseTransport:
    """Make batchq's own transport, with its defaults."""
    # Imported here: a driver of stock httpx runs without it, and shows so.
    from batchq_client.transport import MultiplexTransport  # noqa: PLC0415

    return MultiplexTransport()


class BatchqStockClient(Batchq):
    """Our server with stock httpx: what a user gets without our client."""

    name = "batchq, stock httpx"
    about = "batchq server, plain httpx over HTTP/2"
    client = "httpx, stock HTTP/2 transport"

    def transport(self) -> httpx.AsyncBaseTransport:
        """Make the stock transport."""
        return HttpPeer.transport(self)


class OneLine(Batchq):
    """The design that batching replaces: one request for every line, each way."""

    name = "one line a request"
    about = "batchq server, one request for every line"
    tuned: ClassVar[Mapping[str, Any]] = {"batch_bytes": 1, "in_flight": 64}
    lines_cap = 20_000

    def pull_path(self) -> str:
        """Give the path of a pull of one line."""
        return f"/pull/{self._queue}?wait=0&max=1"


async def _together(count: int, work: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(work())
