"""The process killed, and the disk failing or full, at each sync and write in turn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlite import worker
from sqlite.sqlite_support import opened

from batchq.model import Nothing, Pulled, PullRequest

_WORKER = Path(worker.__file__)
_SECONDS = 60
_EVERY = {"fdatasync": 1, "pwrite64": 11}
"""Which calls are hit: each sync, and some of the far more frequent writes."""


@dataclass(frozen=True)
class _Run:
    code: int
    said: list[list[str]]
    calls: str
    errors: str

    def words(self, first: str) -> list[list[str]]:
        return [line[1:] for line in self.said if line[0] == first]

    @property
    def fired(self) -> bool:
        return "INJECTED" in self.calls or "SIGKILL" in self.calls


def _run(path: Path, inject: str | None, env: Mapping[str, str] | None = None) -> _Run:
    calls = path.with_suffix(".strace")
    what = ["-e", f"inject={inject}"] if inject else []
    # With the filter, which is quicker, no signals are injected.
    quick = [] if inject and "signal" in inject else ["--seccomp-bpf"]
    command = [
        *("strace", "-f", *quick, "-qq", "-o", calls),
        *("-e", "trace=fdatasync,fsync,pwrite64", *what),
        *(sys.executable, _WORKER, path, "run"),
    ]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    said = [line.split(" ") for line in done.stdout.splitlines()]
    return _Run(done.returncode, said, calls.read_text(), done.stderr)


async def _check(path: Path, run: _Run) -> int:
    """All that was answered is there, nothing twice; gives how many batches are stored."""
    pushed = [int(seq) for (seq,) in run.words("pushed")]
    assert pushed == list(range(len(pushed)))
    acked = sum(int(lines) for _, lines in run.words("acked"))
    acking = sum(int(lines) for _, lines in run.words("acking"))
    async with opened(path) as store:
        if not pushed and not await store.queues():
            return 0
        stats = await store.stats("q", None)
        stored = stats.lines // worker.LINES
        assert stats.lines == stored * worker.LINES
        # One push may have been stored without its answer.
        assert stored - len(pushed) in {0, 1}
        state = await store.producer("q", "w", None)
        assert state is not None
        assert (state.seq, state.lines) == (stored - 1, stats.lines)
        left = stats.lines - stats.ready_lines
        assert left in {acked, acking}
        offset = left
        while not isinstance(answer := await store.pull(PullRequest("q", max=3, wait=0)), Nothing):
            assert isinstance(answer, Pulled)
            assert answer.offset == offset
            assert answer.data == worker.batch(offset // worker.LINES)
            offset += answer.lines
        assert offset == stats.lines
        return stored


def _counts(run: _Run, call: str) -> list[int]:
    """How many calls each thread made, in the order of their first: injection counts so."""
    counts: dict[str, int] = {}
    for thread in re.findall(rf"^(\d+) +{call}\(", run.calls, re.MULTILINE):
        counts[thread] = counts.get(thread, 0) + 1
    return list(counts.values())


async def _prepared(path: Path) -> Path:
    """A file that is there already, so that only the writer's thread syncs and writes."""
    async with opened(path):
        return path


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
@pytest.mark.parametrize("fresh", [True, False])
async def test_what_was_answered_survives(
    tmp_path: Path, call: str, fault: str, *, fresh: bool
) -> None:
    clean_path = tmp_path / "clean.db"
    clean = _run(clean_path if fresh else await _prepared(clean_path), None)
    assert len(clean.words("pushed")) == worker.BATCHES, clean.errors
    assert await _check(clean_path, clean) == worker.BATCHES
    counts = _counts(clean, call)
    points = range(1, (counts[0] if fresh else max(counts)) + 1, _EVERY[call])
    assert len(points) > (1 if fresh else worker.BATCHES // 2)
    paths = [tmp_path / f"{point}.db" for point in points]
    if not fresh:
        for path in paths:
            await _prepared(path)
    with ThreadPoolExecutor(2) as pool:
        hits = [f"{call}:{fault}:when={point}" for point in points]
        runs = list(pool.map(_run, paths, hits))
    for path, run in zip(paths, runs, strict=True):
        where = (path.name, run.said, run.errors)
        assert run.fired, where
        if fault == "signal=KILL":
            assert not run.words("stopped"), where
        else:
            assert run.code == 0, where
            assert run.words("stopped"), where
            assert run.words("refused") or len(run.words("pushed")) == worker.BATCHES, where
        await _check(path, run)
    if fresh:
        return
    if fault == "error=EIO":
        codes = {words[0] for run in runs for words in run.words("refused")}
        assert codes == {"store-unavailable"}
    if fault == "error=ENOSPC" and call == "pwrite64":
        codes = {words[0] for run in runs for words in run.words("refused")}
        assert codes <= {"disk-full"}
