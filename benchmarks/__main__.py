"""`python -m benchmarks run|report`: measure, or write the pages from what was measured."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from benchmarks import figures, machine, report
from benchmarks.budget import Budget
from benchmarks.compare import say
from benchmarks.context import Context
from benchmarks.suites import (
    backlog,
    bulk,
    copying,
    cures,
    growth,
    redis,
    requests,
    sharding,
    sqlite,
    throughput,
    waiting,
)

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs" / "benchmarks"
SUITES: dict[str, tuple[Callable[[Context], None], int]] = {
    "throughput": (throughput.run, 9),
    "copy": (copying.run, 5),
    "requests": (requests.run, 2),
    "waiting": (waiting.run, 5),
    "bulk": (bulk.run, 4),
    "sqlite": (sqlite.run, 4),
    "backlog": (backlog.run, 8),
    "shared": (redis.run, 4),
    "growth": (growth.run, 8),
    "cures": (cures.run, 1),
    "sharding": (sharding.run, 1),
}
"""Each suite with its weight in the sharing of time."""
ALONE = ("cures", "sharding")
"""The suites that are run only when they are asked for, each with a result of its own."""
BY_DEFAULT = tuple(name for name in SUITES if name not in ALONE)
ADDED = {"sqlite": "sqlite", "backlog": "sqlite", "shared": "redis"}
"""The suites that `--store` adds, each with the store that it belongs to."""
BUDGET_SECONDS = {"quick": 95, "full": 720, "cures": 240, "sharding": 150}
"""What the suites share. A suite that needs longer for the fewest rounds takes it from the next."""
LONGEST_SECONDS = 3600
LIMIT = 1.2
"""After this many times its budget a run is ended, with what it has."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and write JSON")
    run.add_argument(
        "--quick", action="store_true", help="under two minutes rather than about twelve"
    )
    run.add_argument("--store", choices=("memory", "sqlite", "redis"), default="memory",
                     help="sqlite and redis add the rows of that store")  # fmt: skip
    run.add_argument("--only", action="append", choices=tuple(SUITES), help="this suite only")
    run.add_argument(
        "--seconds", type=_seconds, help="what the suites share, an hour at most; default by mode"
    )
    run.add_argument("--output", type=_file, help="the JSON file; default in benchmarks/results")
    run.add_argument(
        "--scratch", type=_directory, help="a directory on a real disk for scratch files"
    )
    write = commands.add_parser("report", help="write the pages of docs/benchmarks")
    write.add_argument("--input", type=Path, help="a result; default the newest full, else quick")
    write.add_argument("--output", type=Path, default=DOCS, help="the directory of the pages")
    return parser.parse_args(words)


def _seconds(word: str) -> float:
    """Read the seconds of a run."""
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number from 1 to {LONGEST_SECONDS}")
    return seconds


def _directory(word: str) -> Path:
    """Read the name of a directory that is there."""
    path = Path(word)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path}")
    return path


def _file(word: str) -> Path:
    """Read the name of a file in a directory that is there: told before minutes are measured."""
    path = Path(word)
    _directory(str(path.parent))
    return path


def mode_of(options: argparse.Namespace) -> str:
    """Name what a run measures, and so its result: a suite of its own, or much or all."""
    only = options.only or []
    if len(only) == 1 and only[0] in ALONE:
        return str(only[0])
    return "quick" if options.quick else "full"


def measure(options: argparse.Namespace) -> Path:
    """Run the suites and write the JSON; return where."""
    mode = mode_of(options)
    signal.signal(signal.SIGALRM, _overdue)
    seconds: float = options.seconds or BUDGET_SECONDS[mode]
    signal.alarm(math.ceil(seconds * LIMIT))
    run = figures.Run(mode, datetime.now(UTC).isoformat(timespec="seconds"), machine.describe())
    output: Path = options.output or RESULTS / f"{mode}.json"
    budget = Budget(seconds)
    with tempfile.TemporaryDirectory(
        prefix="batchq-bench-", dir=options.scratch, ignore_cleanup_errors=True
    ) as scratch:
        context = Context(run, budget, Path(scratch), options.quick, options.store)
        try:
            for name, fraction in shares(options.only or BY_DEFAULT, options.store):
                say(f"{name} ({budget.used():.0f} s so far)")
                with budget.share(fraction):
                    SUITES[name][0](context)
        finally:
            # Also of a run that is cut short, what it has.
            signal.alarm(0)
            run.seconds = round(budget.used(), 1)
            run.machine["load_average_end"] = machine.load_average()
            figures.save(run, output)
    return output


def shares(names: Iterable[str], store: str) -> list[tuple[str, float]]:
    """Give each suite its fraction of what is left when its turn comes."""
    weights = {name: SUITES[name][1] for name in names}
    weights.update((name, 0) for name, of in ADDED.items() if name in weights and of != store)
    ahead = list(weights)
    return [
        (name, weights[name] / (sum(weights[later] for later in ahead[at:]) or 1))
        for at, name in enumerate(ahead)
    ]


def _overdue(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit("the run took too long and was ended; what it measured is saved")


def main() -> None:
    """Do what the command line asks."""
    options = arguments()
    if options.command == "run":
        output = measure(options)
        run = figures.load(output)
        sys.stdout.write(report.targets_text(run))
        say(f"{run.seconds:.0f} s, written to {output}")
        return
    source = options.input
    if source is None:
        found = [path for name in ("full", "quick") if (path := RESULTS / f"{name}.json").exists()]
        if not found:
            raise SystemExit(f"no result in {RESULTS}: python -m benchmarks run comes first")
        source = found[0]
    for path in report.write(figures.load(source), options.output):
        say(f"written {path}")
    if options.input is None:
        for name in ALONE:
            if (path := RESULTS / f"{name}.json").exists():
                for page in report.write(figures.load(path), options.output / name):
                    say(f"written {page}")


if __name__ == "__main__":
    main()
