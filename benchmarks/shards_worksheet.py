"""`python -m benchmarks.shards_worksheet`: what shards may carry, from what was measured.

Measured rows are a run's figures. Extrapolated ones follow from them by the model that the
page states, and are marked; nobody measured them.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Run, Series, number, spread
from benchmarks.loads import LOADS
from benchmarks.stats import summarise
from benchmarks.suites.sharding import DIRECT, FRONT_CPU, MANY, REQUEST, SERVER_CPU, THROUGH

ROOT = Path(__file__).parent.parent
INPUT = ROOT / "benchmarks" / "results" / "sharding.json"
OUTPUT = ROOT / "docs" / "benchmarks" / "sharding" / "worksheet.md"
LARGER = (2, 4, 10, 30, 100)
FIGURES = ("push", "pull")
REQUESTS = 100_000
THREADS = 64
"""Of one HAProxy 2.6, at most."""

PAGE = """# Capacity worksheet for shards

Written by `python -m benchmarks.shards_worksheet` from a run's JSON; not to be edited by hand.
Run: {started}, on {cpu}, {cores} cores. Load `short`, batches of 1 MiB, store `memory:`.

| shards | way | push, lines/s | pull, lines/s | HAProxy, cores | network, Gbit/s | source |
|---|---|---|---|---|---|---|
{rows}

**Measured**: shards, HAProxy and the loads, all on the same two cores, of which they take from each
other; median, and the smallest and largest round. Two shards carried no more than one there: both
cores were busy already. That speed grows with the shards is not shown by this run.

**Extrapolated**, measured by nobody, on the assumption that each shard has a core of its own,
HAProxy has the cores in the table beside them, and the loads have others: two shards then need
{least} cores without the loads, where {cores} were measured with them. A shard's speed is what its
processor time for a line allows ({push_ns} ns to push, {pull_ns} ns to pull, measured behind
HAProxy), and shards add up, as they share nothing. HAProxy's cores are its own time for a line
({push_front} and {pull_front} ns) times the lines of the faster of the two. The network is the
payload one way; HAProxy has it on both sides. Not in it: syncing to disk, TLS, small batches, what
more cores slow down by sharing caches, and the cards.

One HAProxy 2.6 has {threads} threads at most. Where more cores are needed than that (marked **!**),
or it has not the network, several of them may run with the same configuration: they share nothing,
either.

## Small requests

A request costs HAProxy {few} µs with two shards, and {many} µs
with a map of {shards} shards that were added one by one (both measured; no lines were moved).
{requests:,} requests/s take {needed} cores of it with {shards} shards (extrapolated, by
multiplication).
"""


def page(run: Run) -> str:
    """Render the worksheet.

    Raises:
        ValueError: The run lacks a figure.
    """
    behind = f"2 shards {THROUGH}"
    shard = {figure: _median(run, behind, f"{figure}: {SERVER_CPU}") for figure in FIGURES}
    front = {figure: _median(run, behind, f"{figure}: {FRONT_CPU}") for figure in FIGURES}
    rows = [_measured(run, name) for name in _measured_names()]
    rows += [_extrapolated(count, shard, front) for count in LARGER]
    cost = f"{REQUEST}: HAProxy's time"
    few = _series(run, f"2 shards, {THROUGH}", cost)
    many = _series(run, f"{MANY} shards, added one by one, {THROUGH}", cost)
    return PAGE.format(
        started=run.started,
        cpu=run.machine["cpu"],
        cores=run.machine["cores"],
        rows="\n".join(rows),
        push_ns=number(shard["push"]),
        pull_ns=number(shard["pull"]),
        push_front=number(front["push"]),
        pull_front=number(front["pull"]),
        few=spread(few.samples),
        many=spread(many.samples),
        shards=MANY,
        least=LARGER[0] + _front_cores(LARGER[0], shard, front),
        threads=THREADS,
        requests=REQUESTS,
        needed=number(summarise(many.samples).median * REQUESTS / 1e6),
    )


def _measured_names() -> list[tuple[int, str]]:
    return [(count, way) for count in (1, 2) for way in (DIRECT, THROUGH)]


def _measured(run: Run, one: tuple[int, str]) -> str:
    count, way = one
    name = f"{count} shard{'s' if count > 1 else ''} {way}"
    rates = [_series(run, name, figure).samples for figure in FIGURES]
    fastest = max(summarise(samples).median for samples in rates)
    cells = [str(count), way, *map(spread, rates), "-", number(_gigabits(fastest)), "measured"]
    return f"| {' | '.join(cells)} |"


def _extrapolated(count: int, shard: dict[str, float], front: dict[str, float]) -> str:
    rates = {figure: count * 1e9 / shard[figure] for figure in FIGURES}
    cores = _front_cores(count, shard, front)
    speeds = [number(rates[figure]) for figure in FIGURES]
    network = number(_gigabits(max(rates.values())))
    needed = str(cores) if cores <= THREADS else f"{cores} **!**"
    cells = [str(count), THROUGH, *speeds, needed, network, "*extrapolated*"]
    return f"| {' | '.join(cells)} |"


def _front_cores(count: int, shard: dict[str, float], front: dict[str, float]) -> int:
    return math.ceil(max(count * front[figure] / shard[figure] for figure in FIGURES))


def _gigabits(lines: float) -> float:
    return lines * (LOADS["short"].line_bytes + 1) * 8 / 1e9


def _median(run: Run, contender: str, figure: str) -> float:
    return summarise(_series(run, contender, figure).samples).median


def _series(run: Run, contender: str, figure: str) -> Series:
    found = run.find(contender, figure)
    if found is None:
        raise ValueError(f"the run has no {figure!r} of {contender!r}")
    return found


def main() -> None:
    """Write the page of a run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards_worksheet")
    parser.add_argument("--input", type=Path, default=INPUT, help="the run's JSON")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the page")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(figures.load(options.input)))


if __name__ == "__main__":
    main()
