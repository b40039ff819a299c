"""Each cure of the HTTP/2 side with its figure: with it and without it, in turn."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.compare import say
from benchmarks.context import Context, Failure
from benchmarks.cures import client_rows, server_rows
from benchmarks.cures.bench import Bench
from benchmarks.cures.rows import Row

WARMED = 5
"""Rows of so many rounds are about speed: what a process does for the first time is not counted."""


def run(context: Context) -> None:
    """Measure every row, or say why not; each gets its share of the time that is left."""
    sides = [
        (list(server_rows.rows()), "benchmarks.cures.load:Load"),
        (list(client_rows.rows()), "benchmarks.cures.load:Client"),
    ]
    left = sum(len(rows) for rows, _ in sides)
    for rows, target in sides:
        with ExitStack() as stack:
            bench = Bench(stack, context.directory, target)
            for row in rows:
                context.run.cures.append(row.cure)
                say(f"  {row.cure.cure}: {row.cure.figure} ({context.budget.used():.0f} s)")
                with context.budget.share(1 / left):
                    _measure(context, bench, row)
                left -= 1


def _measure(context: Context, bench: Bench, row: Row) -> None:
    try:
        if row.rounds >= WARMED:
            row.sample(bench, True)
            row.sample(bench, False)
        for _ in context.budget.rounds(min(2, row.rounds), row.rounds):
            on, off = row.sample(bench, True), row.sample(bench, False)
            row.cure.on_samples.append(on)
            row.cure.off_samples.append(off)
    except Failure as error:
        row.cure.why_not = str(error)
        context.note(f"{row.cure.cure}: {error}")
