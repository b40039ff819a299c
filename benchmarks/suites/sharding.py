"""One shard and two, directly and through HAProxy; and what HAProxy costs.

All servers and HAProxy may run on any of the machine's cores, the loads share one. Each
contender moves the same lines over two connections, one to each half of the queues: two shards
have a half each. Pushes are numbered and pulls leased, as `batchq copy` does it; that decides
which way they take through HAProxy.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from batchq.haproxy import Front, Layout, Shard, first, rebalanced, render
from benchmarks import loads, process
from benchmarks.context import Context, Failure
from benchmarks.driver import Driver, timed
from benchmarks.figures import Series
from benchmarks.peers.base import Moved
from benchmarks.peers.ceilings import CeilingC
from benchmarks.peers.http import Batchq
from benchmarks.stats import paired_ratios

HALVES = 2
LINES = 4_000_000
"""Lines of a half's measured call, of the load `short`: about half a second for one server."""
LEASE_SECONDS = 60
MANY = 100
"""Shards of the map that requests are also sent through: there is one server behind all."""
FEW_REQUESTS, REQUESTS = 2_000, 20_000

DIRECT, THROUGH = "directly", "through HAProxy"
STOCK = "1 shard through HAProxy, its own buffers"
ONCE = "1 shard through HAProxy, not numbered, not leased"
FRONT_CPU, SERVER_CPU = "HAProxy's time for a line", "the shards' time for a line"
REQUEST = "requests of one pull"
LEFT = "what is left of the direct speed, with all on the same two cores"


class Load(Batchq):
    """A server with its load: numbered pushes and leased pulls, on one half of the queues."""

    name = "shard"
    numbered: ClassVar[bool] = True

    def __init__(self, directory: str, port: int = 0, half: int = 0, **conditions: Any) -> None:
        """Prepare one half; `half` tells which queues are meant."""
        super().__init__(directory, port, **conditions)
        self.half = half
        self._seq = 0

    def command(self, port: int) -> Sequence[str]:
        """Give the server's command, on any core."""
        return [*ANY_CORE, *super().command(port)]

    def fresh(self) -> str:
        """Give a new name of the half of this load."""
        layout = first([str(half) for half in range(HALVES)])
        while True:
            name = f"{secrets.token_hex(4)}-{super().fresh()}"
            if layout.shard_of(name) == str(self.half):
                return name

    async def push(self, lines: int) -> Moved:
        """Push to a new queue, numbered from 0."""
        self._seq = 0
        return await super().push(lines)

    async def _push_worker(
        self, path: str, batches: Iterator[loads.Batch], moved: list[int]
    ) -> None:
        for batch in batches:
            headers = {}
            if self.numbered:
                number = {"Id": "load", "Epoch": "0", "Seq": str(self._seq)}
                headers = {f"Producer-{name}": value for name, value in number.items()}
                self._seq += 1
            answer = await self.http.post(path, content=batch.payload, headers=headers)
            answer.raise_for_status()
            moved[0] += batch.lines
            moved[1] += len(batch.payload)

    async def pull(self) -> Moved:
        """Pull the pushed lines, each batch acknowledged with the next pull."""
        moved = [0, 0]
        started = time.perf_counter()
        leases: list[str] = []
        while moved[0] < self._expected:
            answer = await self.http.post(
                f"/pull/{self._queue}", params=self._parameters(leases),
                extensions={"batchq.at_once": True},
            )  # fmt: skip
            answer.raise_for_status()
            leases = [answer.headers["Batch-Lease"]] if self.numbered else []
            moved[0] += int(answer.headers["Batch-Lines"])
            moved[1] += len(answer.content)
        took = timed(started, moved[0], moved[1])
        await self.http.delete(f"/queues/{self._queue}")
        return took

    def _parameters(self, leases: Sequence[str]) -> dict[str, Any]:
        parameters: dict[str, Any] = {"max_bytes": self.conditions.batch_bytes}
        if self.numbered:
            parameters |= {"lease": LEASE_SECONDS, "ack": leases}
        return parameters


class OnceLoad(Load):
    """The same without numbers and leases."""

    numbered = False


ANY_CORE = ("taskset", "--cpu-list", ",".join(map(str, process.ALL_CORES)))


@dataclass(slots=True)
class Way:
    """A contender: two loads on the way to their shards.

    Attributes:
        name: What it is.
        drivers: The loads, one a half.
        servers: The shards' process ids.
        front: HAProxy's process id, or 0.
        samples: By figure, one value a round.
    """

    name: str
    drivers: list[Driver]
    servers: list[int]
    front: int = 0
    samples: dict[str, list[float]] = field(default_factory=dict)

    def round(self, lines: int) -> None:
        """Push and pull once, both halves at once."""
        self._move("push", lines=lines)
        self._move("pull")

    def _move(self, figure: str, **arguments: Any) -> None:
        before = self._cpu(self.servers), self._cpu([self.front])
        for driver in self.drivers:
            driver.send(figure, **arguments)
        moved = [driver.receive() for driver in self.drivers]
        lines = sum(one["lines"] for one in moved)
        self._note(figure, lines / max(one["seconds"] for one in moved))
        for name, pids, was in (
            (SERVER_CPU, self.servers, before[0]),
            (FRONT_CPU, [self.front], before[1]),
        ):
            if any(pids):
                self._note(f"{figure}: {name}", (self._cpu(pids) - was) / lines * 1e9)

    def _note(self, figure: str, value: float) -> None:
        self.samples.setdefault(figure, []).append(value)

    @staticmethod
    def _cpu(pids: Sequence[int]) -> float:
        return sum(process.cpu_seconds(pid) for pid in pids if pid)


def run(context: Context) -> None:
    """Measure all ways in turn, then what a request costs."""
    why_not = context.unable() or CeilingC.missing() or ""
    try:
        version = subprocess.run(
            ["haproxy", "-v"], capture_output=True, text=True, timeout=10, check=False
        ).stdout.split(" - ")[0]
    except OSError:
        why_not = why_not or "haproxy not found: apt-get install haproxy"
    if why_not:
        context.note(f"sharding: {why_not}")
        return
    try:
        with ExitStack() as stack, context.budget.share(0.75):
            _measure(context, stack, version)
        with ExitStack() as stack:
            _requests(context, stack, version)
    except Failure as error:
        context.note(f"sharding: {error}")


def _measure(context: Context, stack: ExitStack, version: str) -> None:
    lines = context.pick(LINES // 8, LINES)
    one = _servers(context, stack, "one", 1)
    two = _servers(context, stack, "two", HALVES)
    both = [one[0], one[0]]
    ways = [
        _way(context, stack, f"1 shard {DIRECT}", both),
        _way(context, stack, f"1 shard {THROUGH}", both, front="one"),
        _way(context, stack, f"2 shards {DIRECT}", two),
        _way(context, stack, f"2 shards {THROUGH}", two, front="two"),
        _way(context, stack, STOCK, both, front="stock"),
        _way(context, stack, ONCE, both, front="once", load=OnceLoad),
    ]
    for way in ways:
        way.round(lines // 8)
        way.samples.clear()
    for _ in context.rounds():
        for way in ways:
            way.round(lines)
    conditions = {"load": "short", "batch_bytes": 2**20, "store": "memory:", "connections": 2}
    for way in ways:
        settings = (
            f"{version}{', no tune lines' if way.name == STOCK else ''}" if way.front else "-"
        )
        for figure, samples in way.samples.items():
            cpu = figure.partition(": ")[2]
            unit = "ns" if cpu else "lines/s"
            context.run.series.append(
                Series(
                    way.name, figure, unit, samples,
                    conditions | {"lines_per_call": HALVES * lines},
                    Load.client, settings=settings,
                )
            )  # fmt: skip
    for at in (0, 2):
        direct, through = ways[at], ways[at + 1]
        for figure in ("push", "pull"):
            ratios = paired_ratios(through.samples[figure], direct.samples[figure])
            name = f"{figure}, {through.name}"
            context.run.series.append(
                Series(name, LEFT, "x", ratios, conditions, Load.client, settings=version)
            )


def _servers(context: Context, stack: ExitStack, name: str, count: int) -> list[Load]:
    found = []
    for number in range(count):
        peer = Load(str(context.directory / f"{name}-{number}"))
        peer.start()
        stack.callback(peer.stop)
        found.append(peer)
    return found


def _way(
    context: Context,
    stack: ExitStack,
    name: str,
    servers: list[Load],
    *,
    front: str = "",
    load: type[Load] = Load,
) -> Way:
    ports = [server.port for server in servers]
    pid = 0
    if front:
        names = [str(half) for half in range(HALVES)]
        shards = [
            Shard(half, f"127.0.1.{at}", port)
            for at, (half, port) in enumerate(zip(names, ports, strict=True), 1)
        ]
        port, pid = _haproxy(context, stack, front, shards, first(names))
        ports = [port, port]
    drivers = []
    for half, port in enumerate(ports):
        directory = context.directory / f"load-{front or len(set(ports))}-{half}"
        directory.mkdir(exist_ok=True)
        arguments = {"directory": str(directory), "port": port, "half": half}
        driver = Driver(f"{__name__}:{load.__name__}", arguments, directory / "driver.log")
        stack.callback(driver.stop)
        driver.call("open")
        drivers.append(driver)
    return Way(name, drivers, sorted({server.server_pid for server in servers}), pid)


def _haproxy(
    context: Context, stack: ExitStack, name: str, shards: list[Shard], layout: Layout
) -> tuple[int, int]:
    """Start HAProxy; give its port and process id."""
    port = process.free_port()
    text = render(Front(shards=shards, layout=layout, bind=f"127.0.0.1:{port}", log="", check=60.0))
    # No two shards may be at one address, and here one server may be several of them.
    text = re.sub(r"\b127\.0\.1\.\d+:", "127.0.0.1:", text)
    if name == "stock":
        text = "".join(line for line in text.splitlines(True) if "    tune." not in line)
    config: Path = context.directory / f"{name}.cfg"
    config.write_text(text)
    log = config.with_suffix(".log")
    running = process.spawn([*ANY_CORE, "haproxy", "-db", "-f", str(config)], process.SERVER, log)
    stack.callback(process.stop, running)
    process.wait_for_port(port, running, log)
    return port, running.pid


def _requests(context: Context, stack: ExitStack, version: str) -> None:
    """What a request costs: none moves lines, so that this is all that it costs."""
    server = _servers(context, stack, "requests", 1)[0]
    shards = [Shard(f"s{number}", f"127.0.1.{number}", server.port) for number in range(MANY)]
    names = [shard.name for shard in shards]
    grown = first(names[:1])
    for count in range(2, MANY + 1):
        grown = rebalanced(grown, names[:count])
    ports = {
        f"{HALVES} shards, {THROUGH}": _haproxy(
            context, stack, "few", shards[:HALVES], first(names[:HALVES])
        ),
        f"{MANY} shards, added one by one, {THROUGH}": _haproxy(
            context, stack, "many", shards, grown
        ),
    }
    driver = Driver("benchmarks.suites.requests:H2load", {}, context.directory / "h2load.log")
    stack.callback(driver.stop)
    requests = context.pick(FEW_REQUESTS, REQUESTS)
    ways = {DIRECT: (server.port, 0)} | ports
    rates: dict[str, list[float]] = {name: [] for name in ways}
    costs: dict[str, list[float]] = {name: [] for name in ports}
    for number in context.budget.rounds(3, 6):
        for name, (port, pid) in ways.items():
            before = process.cpu_seconds(pid) if pid else 0.0
            url = f"http://127.0.0.1:{port}/pull/empty{number}?wait=0&lease=1"
            seconds = driver.call("run", url=url, requests=requests, clients=4, streams=8)
            # The first round warms all processes up.
            if number:
                rates[name].append(requests / float(seconds))
            if number and pid:
                costs[name].append((process.cpu_seconds(pid) - before) / requests * 1e6)
    conditions = {"in_flight": 32, "connections": 4, "store": "memory:"}
    for name, samples in rates.items():
        context.run.series.append(
            Series(name, REQUEST, "requests/s", samples, conditions, "h2load", settings=version)
        )
    for name, samples in costs.items():
        figure = f"{REQUEST}: HAProxy's time"
        context.run.series.append(
            Series(name, figure, "µs", samples, conditions, "h2load", settings=version)
        )
