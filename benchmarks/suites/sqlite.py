"""The rows of the SQLite store, measured when a run is told `--store sqlite`.

Each round takes push and pull of the memory store, of the SQLite store, and the append
of the same batches, in turn; the pull from the file follows a restart of the server.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from benchmarks.compare import MOST_ROUNDS, Contender, enter
from benchmarks.context import Context, Failure
from benchmarks.figures import Series, Target, spread
from benchmarks.peers.ceilings import Append
from benchmarks.peers.http import HttpPeer
from benchmarks.stats import paired_ratios

ROWS = {
    "push": ("push, SQLite, fsync always", "the lower of push-memory and append", 0.5, 0.8),
    "memory": ("pull, SQLite, lines still in memory", "pull-memory", 0.8, 0.95),
    "file": ("pull, SQLite, lines from the file", "pull-memory", 0.4, 0.7),
}

DISK_ROUNDS = 15
"""What a disk takes differs from round to round by more than a row may miss its gate by: a few
rounds have a median that the next run contradicts."""

IN_MEMORY = 96 * 1024 * 1024
"""Payload bytes that are pushed before they are pulled: fewer than the server keeps in memory
(`--store-memory`, 128 MiB), as what is above that is pulled from the file."""


def run(context: Context) -> None:
    """Measure the three rows, or say why not."""
    rows = {
        key: Target(row, "x", against, gate, goal)
        for key, (row, against, gate, goal) in ROWS.items()
    }
    context.run.targets += rows.values()
    why_not = context.unable()
    if context.store != "sqlite":
        why_not = "asked for with --store sqlite"
    if not why_not:
        try:
            _measure(context, rows)
        except Failure as error:
            why_not = str(error)
    for target in rows.values():
        target.why_not = "" if target.samples else why_not


def _measure(context: Context, rows: dict[str, Target]) -> None:
    store = f"sqlite:{context.directory / 'bench.db'}"
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        memory = enter(stack, context.subject(str(context.directory / "sqlite-memory")))
        append = enter(stack, Append.at(context.directory / "sqlite-append"))
        disk = enter(
            stack,
            context.subject(str(context.directory / "sqlite"), store=store, fsync="always"),
        )
        for contender in (memory, append, disk):
            contender.calibrate(context.seconds)
        most = IN_MEMORY // disk.line_size
        for _ in context.rounds(context.pick(quick=MOST_ROUNDS, full=DISK_ROUNDS)):
            for name, contender in (("memory", memory), ("append", append), ("disk", disk)):
                contender.round(most)
                for figure, samples in contender.rates.items():
                    if samples:
                        rates.setdefault(f"{name} {figure}", []).append(samples[-1])
            rates.setdefault("file pull", []).append(_pull_from_file(disk))
    context.run.series += [*memory.series(), *append.series(), *_named(disk.series())]
    lower = [min(pair) for pair in zip(rates["memory push"], rates["append push"], strict=True)]
    for key, ours, theirs in (
        ("push", rates["disk push"], lower),
        ("memory", rates["disk pull"], rates["memory pull"]),
        ("file", rates["file pull"], rates["memory pull"]),
    ):
        rows[key].samples = paired_ratios(ours, theirs)
        rows[key].absolute = f"{spread(ours)} against {spread(theirs)} lines/s"


def _named(series: list[Series]) -> list[Series]:
    """Tell the store's series from the memory store's, without the run's scratch path."""
    return [
        replace(
            one,
            contender=f"{one.contender}, SQLite",
            conditions=one.conditions | {"store": "sqlite:"},
        )
        for one in series
    ]


def _pull_from_file(disk: Contender) -> float:
    """Push, restart the server so that nothing is left in its memory, and pull."""
    disk.move("push", lines=disk.lines)
    disk.peer.stop()
    port = disk.peer.start()
    if isinstance(disk.peer, HttpPeer):
        disk.driver.call("reconnect", port=port)
    return disk.move("pull")[0]
