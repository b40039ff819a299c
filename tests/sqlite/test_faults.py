"""The process killed, and the disk failing or full, at each call of the system that writes.

Swept are the syncs, writes, truncations and holes of a run whose bounds are small, so that it
checkpoints, starts its WAL anew and gives space back in its middle. Where a sweep would take too
long it is a sample: every n-th call, from one on that another day moves by one, and each fault
with a third of the step between. So a call is hit every few days, and over a step's length of
days by each fault. ``BATCHQ_TEST_SEED`` is the day's number, to repeat one; a failure names it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from sqlite import worker
from sqlite.ledger import account_of, settle
from sqlite.sqlite_support import SEED, opened

_WORKER: Final = Path(worker.__file__)
_SECONDS: Final = 60

_KILL, _EIO, _ENOSPC = "signal=KILL", "error=EIO", "error=ENOSPC"
_SHIFT: Final = {_KILL: 0, _EIO: 1, _ENOSPC: 2}
"""In thirds of a step."""

_CALLS: Final = "fdatasync,fsync,pwrite64,ftruncate,fallocate"

_ALWAYS: Final = {"BATCHQ_TEST_SMALL": "1"}
_RELAXED: Final = {"BATCHQ_TEST_SMALL": "1", "BATCHQ_TEST_RELAXED": "0.0"}
"""Each commit is synced by the next, which is a timed one."""


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

    @property
    def calls_after(self) -> list[str]:
        """What was still called once a call had failed."""
        _, _, after = self.calls.partition("(INJECTED)")
        return re.findall(r"^\d+ +\w+\(.*", after, re.MULTILINE)


def _run(
    path: Path, inject: str | None, env: Mapping[str, str], *, directory: bool = False
) -> _Run:
    calls = path.with_suffix(".strace")
    what = ["-e", f"inject={inject}"] if inject else []
    # With the filter, which is quicker, no signals are injected.
    quick = [] if inject and "signal" in inject else ["--seccomp-bpf"]
    files = [f"{path}{suffix}" for suffix in ("", "-wal", "-lines", "-journal")]
    # SQLite syncs it too, and ignores how that ends: the store does so itself for new files.
    files += [str(path.parent)] if directory else []
    command = [
        *("strace", "-f", *quick, "-qq", "-o", calls, "-e", f"trace={_CALLS}", *what),
        *(word for file in files for word in ("-P", file)),
        *(sys.executable, _WORKER, path, "run"),
    ]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    # A line that a kill cut short was not said.
    said = [line.split(" ") for line in done.stdout.split("\n")[:-1]]
    return _Run(done.returncode, said, calls.read_text(), done.stderr)


async def _check(path: Path, run: _Run) -> None:
    """The account adds up after a restart, with what was sent again."""
    account = account_of(run.said)
    async with opened(path) as store:
        await settle(store, account)


def _counts(run: _Run, call: str) -> list[int]:
    """How many calls each thread made, in the order of their first: injection counts so."""
    counts: dict[str, int] = {}
    for thread in re.findall(rf"^(\d+) +{call}\(", run.calls, re.MULTILINE):
        counts[thread] = counts.get(thread, 0) + 1
    return list(counts.values())


async def _prepared(path: Path) -> Path:
    """A file that is there already, so that it is nearly all the writer's thread that writes."""
    async with opened(path):
        return path


async def _clean(path: Path, env: Mapping[str, str], *, directory: bool = False) -> _Run:
    run = _run(path, None, env, directory=directory)
    assert len(run.words("acknowledged")) == worker.BATCHES, run.errors
    assert not run.words("refused")
    await _check(path, run)
    return run


def _points(count: int, step: int, fault: str) -> range:
    return range(1 + (SEED + _SHIFT[fault] * step // 3) % step, count + 1, step)


async def _sweep(
    paths: list[Path], hits: list[str], env: Mapping[str, str], *, directory: bool = False
) -> list[_Run]:
    """Runs all, and looks at what each left and how it ended."""
    run_one = partial(_run, env=env, directory=directory)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(run_one, paths, hits))
    for path, hit, run in zip(paths, hits, runs, strict=True):
        where = (SEED, hit, [line[:2] for line in run.said], run.errors)
        assert run.fired, where
        if _KILL in hit:
            assert not run.words("stopped"), where
        else:
            assert run.code == 0, where
            assert run.words("stopped"), where
        try:
            await _check(path, run)
        except Exception as error:
            raise AssertionError(where) from error
    return runs


@pytest.mark.parametrize(
    ("env", "call", "fault", "step"),
    [
        (_ALWAYS, "fdatasync", _KILL, 1),
        (_ALWAYS, "fdatasync", _EIO, 1),
        (_ALWAYS, "fdatasync", _ENOSPC, 6),
        (_ALWAYS, "pwrite64", _KILL, 9),
        (_ALWAYS, "pwrite64", _EIO, 9),
        (_ALWAYS, "pwrite64", _ENOSPC, 9),
        (_ALWAYS, "ftruncate", _KILL, 1),
        (_ALWAYS, "ftruncate", _EIO, 1),
        (_ALWAYS, "fallocate", _KILL, 1),
        (_ALWAYS, "fallocate", _EIO, 1),
        (_ALWAYS, "fallocate", _ENOSPC, 1),
        (_RELAXED, "fdatasync", _KILL, 9),
        (_RELAXED, "fdatasync", _EIO, 9),
        (_RELAXED, "pwrite64", _KILL, 60),
        (_RELAXED, "pwrite64", _EIO, 60),
        (_RELAXED, "pwrite64", _ENOSPC, 60),
    ],
)
async def test_what_was_answered_survives(
    tmp_path: Path, env: Mapping[str, str], call: str, fault: str, step: int
) -> None:
    clean = await _clean(await _prepared(tmp_path / "clean.db"), env)
    count = max(_counts(clean, call))
    assert count >= {"fdatasync": 40, "pwrite64": 100, "ftruncate": 5, "fallocate": 2}[call]
    points = _points(count, step, fault)
    paths = [await _prepared(tmp_path / f"{point}.db") for point in points]
    runs = await _sweep(paths, [f"{call}:{fault}:when={point}" for point in points], env)
    codes = {words[0] for run in runs for words in run.words("refused")}
    full = fault == _ENOSPC and call != "fdatasync"
    if full:
        assert codes <= {"disk-full"}
    elif fault != _KILL:
        assert codes == {"store-unavailable"}
        # After a failure, of a checkpoint too, nobody knows what a sync would tell.
        assert not [(SEED, run.calls_after) for run in runs if run.calls_after]


@pytest.mark.parametrize("call", ["fdatasync", "fsync", "pwrite64"])
@pytest.mark.parametrize("fault", [_KILL, _EIO, _ENOSPC])
async def test_a_new_file_that_was_not_finished(tmp_path: Path, call: str, fault: str) -> None:
    """All calls of its making, by the thread that opens it."""
    clean = await _clean(tmp_path / "clean.db", _ALWAYS, directory=True)
    points = range(1, _counts(clean, call)[0] + 1)
    assert points
    paths = [tmp_path / f"{point}.db" for point in points]
    hits = [f"{call}:{fault}:when={point}" for point in points]
    await _sweep(paths, hits, _ALWAYS, directory=True)
