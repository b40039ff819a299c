"""file → queue → file, writer and reader at once, each a program; the digest is checked.

What the programs take to start is measured in each round as the copy of a file of one line,
and taken off for all contenders alike: one of them can only be given a short file.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import loads, process
from benchmarks.context import Context, Failure
from benchmarks.figures import Series, Target, spread
from benchmarks.peers.base import python
from benchmarks.peers.http import batchq_command
from benchmarks.peers.redis import RedisLine
from benchmarks.stats import paired_ratios

TIMEOUT = 120
MIB = 1024 * 1024
Commands = tuple[list[str], list[str]]
Source = tuple[Path, int]
"""A file and how many lines it has."""


def run(context: Context) -> None:
    """Measure `batchq copy`, the same through redis, and one line a request, in turn."""
    rows = [
        Target("copy file → queue → file, memory store", "x", "redis per line", 3, 6),
        Target("copy file → queue → file, memory store", "x", "one line a request", 300, 1000),
        Target("copy file → queue → file, SQLite", "x", "copy, memory store", 0.5, 0.8),
    ]
    context.run.targets += rows
    rates: dict[str, list[float]] = {}
    why_not = context.unable() or RedisLine.missing() or ""
    if not why_not:
        try:
            _measure(context, rates)
        except Failure as error:
            why_not = str(error)
    for target, ours, theirs in (
        (rows[0], "batchq copy", "redis per line"),
        (rows[1], "batchq copy", "one line a request"),
        (rows[2], "batchq copy, SQLite", "batchq copy"),
    ):
        if ours in rates and theirs in rates and not why_not:
            target.samples = paired_ratios(rates[ours], rates[theirs])
            target.absolute = f"{spread(rates[ours])} against {spread(rates[theirs])} lines/s"
        else:
            target.why_not = why_not or "asked for with --store sqlite"


def _file(directory: Path, size: int) -> Source:
    """Write a file of about `size` bytes of the load `short`; return it and its lines."""
    path = directory / f"source-{size}"
    pool = loads.pool("short", MIB)
    lines = 0
    with path.open("wb") as file:
        for number in range(max(1, size // len(pool[0].payload))):
            batch = pool[number % len(pool)]
            file.write(batch.payload)
            lines += batch.lines
    return path, lines


def _measure(context: Context, rates: dict[str, list[float]]) -> None:
    directory = context.directory / "copy"
    directory.mkdir()
    # Long enough for the fastest to take about twice what its programs take to start.
    whole = _file(directory, context.pick(96, 384) * MIB)
    few = directory / "source-lines", context.pick(500, 2_000)
    few[0].write_bytes(loads.LOADS["short"].batch(0, few[1]).payload)
    one = directory / "source-one", 1
    one[0].write_bytes(loads.LOADS["short"].batch(0, 1).payload)
    starts: dict[str, list[float]] = {}
    with ExitStack() as stack:
        contenders = _contenders(context, stack, whole, few)
        for number in context.rounds():
            for name, (source, commands) in contenders.items():
                # A queue that was closed stays so: each copy has a name of its own.
                queue = f"{name.split()[0]}-{name.split()[-1]}-{number}"
                whole_seconds = _copy(directory, source[0], commands(source[0], queue, source[1]))
                # After the file, so that what the kernel caches of the programs is there.
                start = _copy(directory, one[0], commands(one[0], f"{queue}-one", 1))
                seconds = whole_seconds - start
                if seconds <= 0:
                    raise RuntimeError(f"{name}: the file is too short to be timed")
                starts.setdefault(name, []).append(start)
                rates.setdefault(name, []).append(source[1] / seconds)
    for name, samples in rates.items():
        path, lines = contenders[name][0]
        conditions = {
            "load": "short",
            "file_bytes": path.stat().st_size,
            "file_lines": lines,
            "start_up": f"{spread(starts[name])} s, taken off",
        }
        context.run.series.append(
            Series(name, "copy", "lines/s", samples, conditions, "two programs at once")
        )


def _contenders(
    context: Context, stack: ExitStack, whole: Source, few: Source
) -> dict[str, tuple[Source, Callable[[Path, str, int], Commands]]]:
    """Start the servers; give each contender's file (with its lines) and its two programs."""
    ours = context.server(stack, "copy-memory")
    redis = RedisLine.at(context.directory / "copy")
    redis.start()
    stack.callback(redis.stop)
    contenders: dict[str, tuple[Source, Callable[[Path, str, int], Commands]]] = {
        "batchq copy": (whole, lambda path, name, _: _batchq(path, ours.port, name)),
        "redis per line": (
            whole,
            lambda path, name, lines: _copier("redis", path, redis.port, name, lines),
        ),
        # Whole it would take hours.
        "one line a request": (
            few,
            lambda path, name, lines: _copier("line", path, ours.port, name, lines),
        ),
    }
    if context.store == "sqlite":
        store = f"sqlite:{context.directory / 'copy.db'}"
        disk = context.server(stack, "copy-sqlite", store=store, fsync="always")
        contenders["batchq copy, SQLite"] = (
            whole,
            lambda path, name, _: _batchq(path, disk.port, name),
        )
    return contenders


def _batchq(path: Path, port: int, queue: str) -> Commands:
    program, url = batchq_command() or "batchq", f"http://127.0.0.1:{port}/{queue}"
    return (
        [program, "copy", "--quiet", str(path), url],
        [program, "copy", "--quiet", url, str(path.with_name("copied"))],
    )


def _copier(kind: str, path: Path, port: int, name: str, lines: int) -> Commands:
    module = ("-m", "benchmarks.copiers")
    target = str(path.with_name("copied"))
    return (
        python(*module, f"{kind}-write", str(path), str(port), name),
        python(*module, f"{kind}-read", target, str(port), name, str(lines)),
    )


def _copy(directory: Path, source: Path, commands: Commands) -> float:
    """Run writer and reader at once; return the seconds until both have ended well.

    Raises:
        RuntimeError: One failed, or the copy differs.
    """
    log = directory / "copy.log"
    destination = directory / "copied"
    destination.unlink(missing_ok=True)
    started = time.perf_counter()
    programs = [process.spawn(command, process.LOAD, log) for command in commands]
    try:
        failed = _both_end(programs, started + TIMEOUT)
        seconds = time.perf_counter() - started
    finally:
        for program in programs:
            process.stop(program)
    if failed:
        tail = " ".join(log.read_bytes()[-300:].decode(errors="replace").split())
        raise RuntimeError(f"{' '.join(failed)} failed: {tail}")
    if _digest(source) != _digest(destination):
        raise RuntimeError(f"{destination} differs from {source}")
    return seconds


def _both_end(programs: list[subprocess.Popen[bytes]], deadline: float) -> list[str]:
    """Wait for all; return what the first to fail, or to be overdue, was called with."""
    while time.perf_counter() < deadline:
        codes = [program.poll() for program in programs]
        for program, code in zip(programs, codes, strict=True):
            if code:
                return [str(word) for word in program.args]  # type: ignore[union-attr]
        if None not in codes:
            return []
        # Coarse beside runs of seconds, and cheap: the harness shares the load's core.
        time.sleep(0.005)
    return ["a copy that took too long"]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
