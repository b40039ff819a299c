"""A disk that is full: pushes are refused, pulls and acks go on, and pushes again after."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlite import worker
from sqlite.ledger import account_of
from sqlite.sqlite_support import opened, pull_all, push

_WORKER = Path(worker.__file__)


def _fill(command: list[str | Path], env: Mapping[str, str]) -> dict[str, list[str]]:
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    lines = [line.split(" ") for line in done.stdout.splitlines()]
    # After a restart, all the rest was read.
    report = account_of(lines, worker.batch).report()
    report.assert_clean()
    assert report.absent == 0
    return {words[0]: words[1:] for words in lines}


def _looks_right(said: Mapping[str, list[str]], first: int = 0) -> None:
    batches, code, failure = said["full"]
    assert int(batches) >= 5
    assert code == "disk-full"
    assert failure == "-"
    assert int(said["drained"][0]) == sum(len(worker.batch(n)) for n in range(first, int(batches)))
    assert int(said["again"][0]) == int(batches) // 2 * worker.LINES
    assert "stopped" in said


@pytest.mark.parametrize("env", [{}, {"BATCHQ_TEST_RELAXED": "1"}])
async def test_files_that_may_not_grow(path: Path, env: Mapping[str, str]) -> None:
    """Each file is limited, the WAL too, so that no reserve helps: acks find room all the same."""
    command: list[str | Path] = [sys.executable, _WORKER, path, "fill"]
    said = _fill(command, {"BATCHQ_TEST_FSIZE": str(64 << 20), **env})
    _looks_right(said)
    # It was full of lines, not of what they cost.
    assert int(said["drained"][0]) > 48 << 20
    async with opened(path) as store:
        await push(store, worker.batch(0))
        assert await pull_all(store) == worker.batch(0)


def _on_tmpfs(path: Path, size: str, what: str) -> list[str | Path]:
    mounted = f'mount -t tmpfs -o size={size} tmpfs {path.parent} && exec "$@"'
    python: list[str | Path] = [sys.executable, _WORKER, path, what]
    return ["unshare", "-Urm", "sh", "-c", mounted, "sh", *python]


def test_a_disk_that_others_have_filled(path: Path) -> None:
    """Not even an ack finds room: its lease holds on, and it is repeated."""
    said = _fill(_on_tmpfs(path, "48m", "hog"), {})
    assert "acked" in said
    _looks_right(said, first=1)


def test_a_reserve_that_is_used_up(path: Path) -> None:
    said = _fill(_on_tmpfs(path, "128m", "fill"), {"BATCHQ_TEST_MIN_FREE": str(64 << 20)})
    _looks_right(said)
    assert int(said["full"][0]) * worker.LINES * worker.SIZE < 64 << 20
