"""A copy killed at each system call in turn, and the order of those that make it safe."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import xxhash
from support.copies import batchq
from support.servers import ServerProcess
from support.strace import SAFETY, Call, Traced, traced

from batchq_client.copy import (
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    write_queue,
)

DATA = b"".join(b"%09d of some\n" % number for number in range(10)) + b"the end"
SMALL = ("--batch-bytes", "32", "--lease", "1", "--wait", "0.5", "--retries", "20")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def filled(server: ServerProcess, source: Path) -> str:
    """Makes a closed queue with the source's lines; gives its URL."""
    queue = QueueAddress(server.url, uuid4().hex)
    writing = write_queue(
        PathAddress(source), queue, CopyOptions(batch_bytes=32), Progress(), Summary("", "")
    )
    asyncio.run(writing)
    return str(queue)


def index(calls: list[Call], name: str, path: Path, start: int = 0) -> int:
    """Where the first call of a name is that is about a file."""
    found = (
        number
        for number, call in enumerate(calls[start:], start)
        if call.name == name and call.of(path)
    )
    return next(found)


def test_a_part_file_is_synced_before_its_journal_says_so(
    server: ServerProcess, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "d"
    part, journal = tmp_path / "d.part", tmp_path / "d.part.journal"
    done = traced(tmp_path / "log", "copy", *SMALL, filled(server, source), target)
    assert done.code == 0, done.stderr
    calls = done.calls
    written = [n for n, call in enumerate(calls) if call.name == "write" and call.of(part)]
    records = [n for n, call in enumerate(calls) if call.name == "write" and call.of(journal)]
    assert len(written) >= 10
    assert len(records) >= 2, "one that begins, and one for each group of lines"
    for before, record in pairwise(records):
        last = max((n for n in written if before < n < record), default=None)
        assert last is not None
        assert last < index(calls, "fdatasync", part, last) < record
        assert record < index(calls, "fdatasync", journal, record)
    assert written[-1] < records[-1], "nothing is acknowledged that no record tells"


def test_a_destination_has_its_name_before_the_journal_goes(
    server: ServerProcess, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "d"
    done = traced(tmp_path / "log", "copy", *SMALL, filled(server, source), target)
    assert done.code == 0, done.stderr
    named = index(done.calls, "rename", target)
    assert index(done.calls, "fsync", tmp_path / "d.part") < named
    gone = index(done.calls, "unlink", tmp_path / "d.part.journal")
    # A power loss may keep what was done later and lose what was done before, but for a sync.
    assert named < index(done.calls, "fsync", tmp_path, named) < gone


def killed_at_each(clean: Traced, check: Callable[[str, int], Traced]) -> None:
    """Checks each point at which a command may be killed, two at a time.

    How lines are grouped varies: a run may end before it has made a call that often.
    """
    points = list(clean.points)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda point: check(*point), points))
    missed = 0
    for point, run in zip(points, runs, strict=True):
        if run.code == 0:
            assert point not in run.points
            missed += 1
        else:
            assert run.code == -signal.SIGKILL, (point, run.stderr)
    assert missed <= len(points) // 10


@pytest.mark.timeout(600)
def test_a_reader_killed_at_each_call(server: ServerProcess, source: Path, tmp_path: Path) -> None:
    flags = ("copy", "--resume", *SMALL)
    clean = traced(tmp_path / "log", *flags, filled(server, source), tmp_path / "clean")
    assert clean.code == 0, clean.stderr

    def check(name: str, number: int) -> Traced:
        folder = tmp_path / f"{name}{number}"
        folder.mkdir()
        queue, target = filled(server, source), folder / "d"
        killed = traced(folder / "log", *flags, queue, target, kill=(name, number))
        left = {path.name: path.stat().st_size for path in folder.iterdir()}
        done = batchq(*flags, queue, target)
        assert done.returncode == 0, (folder, left, done.stderr)
        assert target.read_bytes() == DATA, (folder, left)
        assert {path.name for path in folder.iterdir()} == {"d", "log"}
        return killed

    points = list(clean.points)
    assert {name for name, _ in points} >= {*SAFETY, "write"}
    assert len(points) >= 30
    killed_at_each(clean, check)


@pytest.mark.timeout(600)
def test_a_writer_killed_at_each_call(server: ServerProcess, source: Path, tmp_path: Path) -> None:
    flags = ("copy", "--resume", "--batch-bytes", "32", "--in-flight", "2")
    clean = traced(tmp_path / "log", *flags, source, f"{server.url}/{uuid4().hex}")
    assert clean.code == 0, clean.stderr

    def check(name: str, number: int) -> Traced:
        queue = uuid4().hex
        sides = (source, f"{server.url}/{queue}")
        killed = traced(tmp_path / f"{name}{number}", *flags, *sides, kill=(name, number))
        done = batchq(*flags, *sides)
        assert done.returncode == 0, (name, number, done.stderr)
        told = httpx.get(f"{server.url}/queues/{queue}").json()
        assert told["digest"] == f"xxh3-128:{xxhash.xxh3_128(DATA).hexdigest()}", (name, number)
        assert httpx.post(f"{server.url}/pull/{queue}").content == DATA + b"\n", (name, number)
        return killed

    points = list(clean.points)
    assert {name for name, _ in points} >= {"fdatasync", "unlink"}
    assert len(points) >= 15
    killed_at_each(clean, check)
