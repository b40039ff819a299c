"""`python -m benchmarks run|report`: measure, or write the pages from what was measured."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from benchmarks import figures, machine, report
from benchmarks.compare import say
from benchmarks.context import Context
from benchmarks.suites import bulk, copying, growth, requests, sqlite, throughput, waiting

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs" / "benchmarks"
SUITES = {
    "throughput": throughput.run,
    "copy": copying.run,
    "requests": requests.run,
    "waiting": waiting.run,
    "bulk": bulk.run,
    "sqlite": sqlite.run,
    "growth": growth.run,
}
LIMIT_SECONDS = {"quick": 240, "full": 1800}
"""After this a run is ended: no fault may hold a machine for good."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and write JSON")
    run.add_argument("--quick", action="store_true", help="two minutes rather than twenty")
    run.add_argument("--store", choices=("memory", "sqlite"), default="memory",
                     help="sqlite adds the rows of the SQLite store")  # fmt: skip
    run.add_argument("--only", action="append", choices=tuple(SUITES), help="this suite only")
    run.add_argument("--output", type=Path, help="the JSON file; default in benchmarks/results")
    run.add_argument("--scratch", type=Path, help="a directory on a real disk for scratch files")
    write = commands.add_parser("report", help="write the pages of docs/benchmarks")
    write.add_argument("--input", type=Path, help="a result; default the newest full, else quick")
    write.add_argument("--output", type=Path, default=DOCS, help="the directory of the pages")
    return parser.parse_args(words)


def measure(options: argparse.Namespace) -> Path:
    """Run the suites and write the JSON; return where."""
    mode = "quick" if options.quick else "full"
    signal.signal(signal.SIGALRM, _overdue)
    signal.alarm(LIMIT_SECONDS[mode])
    run = figures.Run(mode, datetime.now(UTC).isoformat(timespec="seconds"), machine.describe())
    output: Path = options.output or RESULTS / f"{mode}.json"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="batchq-bench-", dir=options.scratch, ignore_cleanup_errors=True
    ) as scratch:
        context = Context(run, Path(scratch), options.quick, options.store)
        for name in options.only or SUITES:
            say(f"{name} ({time.monotonic() - started:.0f} s so far)")
            SUITES[name](context)
            run.seconds = round(time.monotonic() - started, 1)
            # After each suite, so that a run that is cut short leaves what it has.
            figures.save(run, output)
    signal.alarm(0)
    return output


def _overdue(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit("the run took too long and was ended; what it measured is saved")


def main() -> None:
    """Do what the command line asks."""
    options = arguments()
    if options.command == "run":
        output = measure(options)
        sys.stdout.write(report.targets_text(figures.load(output)))
        say(f"written to {output}")
        return
    source = options.input
    if source is None:
        found = [path for name in ("full", "quick") if (path := RESULTS / f"{name}.json").exists()]
        if not found:
            raise SystemExit(f"no result in {RESULTS}: python -m benchmarks run comes first")
        source = found[0]
    for path in report.write(figures.load(source), options.output):
        say(f"written {path}")


if __name__ == "__main__":
    main()
