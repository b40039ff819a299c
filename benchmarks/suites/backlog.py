"""A backlog far larger than memory, on disk: speed and memory as it grows, and the start on it.

Measured when a run is told `--store sqlite`. One queue is filled step by step; then many
queues get one batch each, the server is started anew on all that, and the queue is drained.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import mean

from benchmarks import loads, process
from benchmarks.context import Context, Failure
from benchmarks.driver import Driver, timed
from benchmarks.figures import Curve, Growth, Series, Target
from benchmarks.peers.base import Moved
from benchmarks.peers.http import Batchq, _together

GIB = 1024**3
STARTS = 3
LINE = loads.LOADS["short"].line_bytes + 1
FILL_SHARE = 0.4
"""Of the time that is left, filling takes at most this much; draining may be slower."""


class Backlog(Batchq):
    """Our server and client with one queue that is filled and drained step by step."""

    def environment(self) -> Mapping[str, str]:
        """Let the queue hold more than all that is pushed."""
        return {**super().environment(), "BATCHQ_MAX_QUEUE_BYTES": str(64 * GIB)}

    async def fill(self, lines: int) -> Moved:
        """Push so many lines to the queue `deep`."""
        started = time.perf_counter()
        return timed(started, await self.deepen(lines), 0)

    async def drain(self, lines: int) -> Moved:
        """Pull so many lines off the queue `deep`."""
        moved = [0, 0]
        pulls = iter(range(-(-lines // self.lines_per_call)))
        started = time.perf_counter()
        await _together(self.conditions.in_flight, lambda: self._deep_worker(pulls, moved))
        return timed(started, moved[0], moved[1])

    async def touch(self, queues: int) -> None:
        """Push one line to each of so many queues."""
        names = iter([f"/push/few-{number}" for number in range(queues)])
        await _together(self.conditions.in_flight, lambda: self._send_worker(names, b"one line\n"))


def run(context: Context) -> None:
    """Measure, or say why not."""
    rows = {
        "start": Target("start, SQLite, with a backlog", "s", "", 1.0, 0.8, at_most=True),
        "memory": Target("memory with a backlog, SQLite", "MiB", "", 300, 250, at_most=True),
        "speed": Target("push and pull, SQLite, at the full depth", "x", "empty queue", 0.8, 0.95),
    }
    conditions = {"load": "short", "batch_bytes": 1024 * 1024, "in_flight": 4, "fsync": "always"}
    plots = [
        Growth("backlog-speed", "Speed against the backlog", "backlog, bytes", "bytes/s",
               conditions, Batchq.client),
        Growth("backlog-memory", "Memory against the backlog", "backlog, bytes",
               "bytes of the server's process", conditions, Batchq.client),
    ]  # fmt: skip
    context.run.targets += rows.values()
    context.run.growth += plots
    why_not = context.unable()
    if context.store != "sqlite":
        why_not = "asked for with --store sqlite"
    if not why_not:
        try:
            _Measure(context, rows, plots).all()
        except Failure as error:
            why_not = str(error)
    for target in rows.values():
        target.why_not = "" if target.samples else why_not
    for plot in plots:
        plot.why_not = "" if plot.curves else why_not


class _Measure:
    """One server through all of it."""

    def __init__(self, context: Context, rows: dict[str, Target], plots: list[Growth]) -> None:
        self.context = context
        self.rows = rows
        self.plots = plots
        self.speed = {"push": Curve("push"), "pull": Curve("pull")}
        self.memory = {"push": Curve("while it is filled"), "pull": Curve("while it is drained")}
        self.store = f"sqlite:{context.directory / 'backlog.db'}"
        self.depth = 0

    def all(self) -> None:
        """Fill, start anew, drain."""
        context = self.context
        queues = context.pick(1_000, 10_000)
        with ExitStack() as stack:
            peer = Backlog(str(context.directory / "backlog"), store=self.store, fsync="always")
            peer.start()
            stack.callback(peer.stop)
            self._fill(peer)
            with _driver(peer) as driver:
                driver.call("touch", queues=queues)
            starts = self._starts(peer)
            self._drain(peer)
        peaks = [size / 2**20 for curve in self.memory.values() for _, (size,) in curve.points]
        self.plots[0].curves += self.speed.values()
        self.plots[1].curves += self.memory.values()
        deepest = f"{queues:,} queues and {self.speed['push'].points[-1][0] / 1e9:.1f} GB"
        self.rows["start"].samples = starts
        self.rows["start"].absolute = f"{deepest}; to the port's first answer, interpreter and all"
        self.rows["memory"].samples = [max(peaks)]
        self.rows["memory"].absolute = f"{deepest}; the most that was seen between the steps"
        self.rows["speed"].samples = [_deep(curve) for curve in self.speed.values()]
        self.rows[
            "speed"
        ].absolute = (
            f"{deepest}; of push and of pull, the three deepest steps against the three shallowest"
        )
        self.context.run.series.append(
            Series(peer.name, "start with a backlog", "s", starts,
                   {"store": "sqlite", "fsync": "always"}, "the harness")
        )  # fmt: skip

    def _fill(self, peer: Backlog) -> None:
        context = self.context
        wanted, step = context.pick((GIB // 4, GIB // 16), (20 * GIB, GIB))
        with _driver(peer) as driver, context.budget.share(FILL_SHARE):
            while self.depth < wanted and context.budget.left() > 0:
                moved = driver.call("fill", lines=step // LINE)
                self.depth += moved["lines"] * LINE
                self._note("push", peer, moved)

    def _drain(self, peer: Backlog) -> None:
        step = self.context.pick(GIB // 16, GIB)
        with _driver(peer) as driver:
            while self.depth > 0:
                if self.speed["pull"].points and self.context.budget.left() <= 0:
                    self.context.note(f"backlog: no time was left to drain {self.depth} bytes")
                    break
                moved = driver.call("drain", lines=step // LINE)
                self._note("pull", peer, moved)
                self.depth -= moved["lines"] * LINE
                if not moved["lines"]:
                    raise RuntimeError(f"{self.depth} bytes of the backlog are missing")

    def _note(self, figure: str, peer: Backlog, moved: Moved) -> None:
        rate = moved["lines"] * LINE / moved["seconds"]
        self.speed[figure].points.append((self.depth, [rate]))
        size = process.memory_kib(peer.server_pid, "VmRSS") * 1024.0
        self.memory[figure].points.append((self.depth, [size]))

    def _starts(self, peer: Backlog) -> list[float]:
        seconds = []
        for _ in range(STARTS):
            peer.stop()
            began = time.perf_counter()
            peer.start()
            seconds.append(time.perf_counter() - began)
        return seconds


@contextmanager
def _driver(peer: Backlog) -> Iterator[Driver]:
    """Start a driver of a running server."""
    target, arguments = peer.target()
    driver = Driver(target, arguments, peer.directory / "driver.log")
    try:
        driver.call("open")
        yield driver
    finally:
        driver.stop()


def _deep(curve: Curve) -> float:
    """Give the rate at the deepest steps over that at the shallowest."""
    rates = [rate for _, (rate,) in sorted(curve.points)]
    some = max(1, min(3, len(rates) // 2))
    return mean(rates[-some:]) / mean(rates[:some])
