"""`python -m benchmarks.worksheet`: what a shared store may carry, from what was measured.

Measured rows are a run's figures. Extrapolated ones follow from them by the model that the
page states, and are marked; nobody measured them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Run, number, spread
from benchmarks.loads import LOADS
from benchmarks.stats import summarise
from benchmarks.suites.redis import FIGURES, MEMORY, SERVERS, SharedBatchq

ROOT = Path(__file__).parent.parent
INPUT = ROOT / "benchmarks" / "results" / "redis.json"
OUTPUT = ROOT / "docs" / "benchmarks" / "redis" / "worksheet.md"
LARGER = (1, 2, 4, 8)
BACKLOG_MINUTES = 10

PAGE = """# Capacity worksheet for the shared store

Written by `python -m benchmarks.worksheet` from a run's JSON; not to be edited by hand.
Run: {mode}, {started}, on {cpu}, {cores} cores. Load `{load}`, batches of {batch:,} bytes.

| cores | batchq servers | push, lines/s | pull, lines/s | source |
|---|---|---|---|---|
{rows}

**Measured**: all batchq servers and Redis on one core, all loads on the other; median, and the
smallest and largest round.

**Extrapolated**, measured by nobody: Redis has a core of its own, each batchq server one, and the
loads others. A line's cost on the measured core is split: Redis's part is taken to be at most what
a line costs when Redis is used directly with one value a batch, and half of the whole ({block});
the rest is batchq's.
Servers add up until Redis's core is full. Not in it: the network, syncing to disk, replication,
small batches (they cost Redis a call each), and what more cores slow down by sharing caches.

## Memory

Redis holds a backlog in {memory} times its payload (measured; median, smallest and largest). A
replica holds the same. At the measured speed of one server a reader that stands still for
{minutes} minutes needs, by multiplication (extrapolated):

| push, lines/s | backlog | Redis's memory | |
|---|---|---|---|
| {rate} | {backlog} lines | {gib} GiB | *extrapolated* |

Set `maxmemory` above that with `maxmemory-policy noeviction`, and leave room for copy-on-write
where Redis saves snapshots or rewrites its log.
"""


def page(run: Run) -> str:
    """Render the worksheet.

    Raises:
        ValueError: The run has no figures of the shared store.
    """
    measured = {
        count: {figure: _rates(run, name, figure) for figure in FIGURES}
        for count in SERVERS
        if (name := f"{SharedBatchq.name}, {count} server{'s' if count > 1 else ''}")
    }
    rows = [
        f"| 2 | {count} | {spread(rates['push'])} | {spread(rates['pull'])} | measured |"
        for count, rates in measured.items()
    ]
    costs = {figure: _costs(run, measured[1][figure], figure) for figure in FIGURES}
    for count in LARGER:
        speeds = [number(speed(*costs[figure], count)) for figure in FIGURES]
        rows.append(f"| {count + 2} and more | {count} | {' | '.join(speeds)} | *extrapolated* |")
    memory = _rates(run, f"{SharedBatchq.name}, 1 server", MEMORY)
    conditions = run.find(f"{SharedBatchq.name}, 1 server", "push")
    load = conditions.conditions["load"] if conditions else "short"
    rate = summarise(measured[1]["push"]).median
    lines = rate * 60 * BACKLOG_MINUTES
    size = lines * (LOADS[load].line_bytes + 1) * summarise(memory).median
    return PAGE.format(
        mode=run.mode,
        started=run.started,
        cpu=run.machine.get("cpu"),
        cores=run.machine.get("cores"),
        load=load,
        batch=conditions.conditions["batch_bytes"] if conditions else 0,
        rows="\n".join(rows),
        block=" and ".join(f"{1e9 * redis:.0f} ns to {f}" for f, (_, redis) in costs.items()),
        memory=spread(memory),
        minutes=BACKLOG_MINUTES,
        rate=number(rate),
        backlog=number(lines),
        gib=f"{size / 2**30:.0f}",
    )


def speed(batchq: float, redis: float, servers: int) -> float:
    """Extrapolate lines/s.

    Args:
        batchq: Seconds of a batchq server's core a line.
        redis: Seconds of Redis's core a line.
        servers: Batchq servers, each with a core of its own.
    """
    return min(servers / batchq, 1 / redis)


def _costs(run: Run, together: list[float], figure: str) -> tuple[float, float]:
    """Split a line's seconds into batchq's and Redis's."""
    whole = 1 / summarise(together).median
    redis = min(1 / summarise(_rates(run, "redis per block", figure)).median, whole / 2)
    return whole - redis, redis


def _rates(run: Run, contender: str, figure: str) -> list[float]:
    series = run.find(contender, figure)
    if series is None or not series.samples:
        raise ValueError(f"the run has no {figure} of {contender}: run --store redis first")
    return series.samples


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worksheet", description=__doc__)
    parser.add_argument("--input", type=Path, default=INPUT, help="a result with the shared rows")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the page")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(figures.load(options.input)))


if __name__ == "__main__":
    main()
