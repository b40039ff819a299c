"""Copies that were killed after their last step: what is complete is found to be so."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import httpx
import pytest
from support.copies import batchq, said
from support.servers import ServerProcess
from support.stream import assert_identical

CONTENTS = [b"one\ntwo\n", b"one\ntwo", b"one\n\n\n", b"\n", b""]


@pytest.fixture
def queue(server: ServerProcess) -> str:
    return f"{server.url}/{uuid4().hex}"


@pytest.fixture(params=CONTENTS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(request.param)
    return path


def stats(queue: str) -> dict[str, Any]:
    base, _, name = queue.rpartition("/")
    told: dict[str, Any] = httpx.get(f"{base}/queues/{name}").json()
    return told


def summary(done: CompletedProcess[bytes]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done.stdout)
    return {name: told[name] for name in told if name not in ("seconds", "lines_per_second")}


def test_a_reader_that_had_ended(queue: str, source: Path, tmp_path: Path) -> None:
    assert batchq("copy", source, queue).returncode == 0
    first = batchq("copy", "--json", "--resume", queue, tmp_path / "d")
    assert first.returncode == 0, said(first)
    again = batchq("copy", "--json", "--resume", queue, tmp_path / "d")
    assert again.returncode == 0, said(again)
    assert summary(again) == summary(first)
    assert_identical(source, tmp_path / "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "source"]


def test_a_writer_that_had_ended(queue: str, source: Path) -> None:
    first = batchq("copy", "--json", "--resume", source, queue)
    assert first.returncode == 0, said(first)
    before = stats(queue)
    again = batchq("copy", "--json", "--resume", source, queue)
    assert again.returncode == 0, said(again)
    assert summary(again) == summary(first)
    assert stats(queue) == before


def read_but_the_name(queue: str, source: Path, target: Path) -> Path:
    """Leaves a part file with all lines, all of them acknowledged; gives its journal."""
    assert batchq("copy", "--keep-open", source, queue).returncode == 0
    done = batchq("copy", "--wait", "0.05", "--retries", "1", queue, target)
    assert done.returncode == 3, said(done)
    base, _, name = queue.rpartition("/")
    unterminated = not source.read_bytes().endswith(b"\n")
    assert httpx.post(f"{base}/close/{name}", json={"unterminated": unterminated}).is_success
    return target.with_name(target.name + ".part.journal")


@pytest.mark.parametrize("source", CONTENTS[:4], indirect=True)
@pytest.mark.parametrize("named", [False, True])
def test_a_reader_killed_on_its_last_steps(
    queue: str, source: Path, tmp_path: Path, *, named: bool
) -> None:
    target = tmp_path / "d"
    journal = read_but_the_name(queue, source, target)
    part = target.with_name("d.part")
    # Steps of a reader at the end: the newline that the source lacks is taken away, the
    # part file gets its name, the journal is removed.
    part.write_bytes(source.read_bytes())
    if named:
        part.rename(target)
    done = batchq("copy", "--json", "--resume", queue, target)
    assert done.returncode == 0, said(done)
    assert_identical(source, target)
    assert not part.exists()
    assert not journal.exists()
    told = json.loads(done.stdout)
    assert told["complete"]
    assert (told["lines"], told["bytes"]) == (stats(queue)["lines"], len(source.read_bytes()))
    assert told["unterminated"] == (not source.read_bytes().endswith(b"\n"))


@pytest.mark.parametrize("source", CONTENTS[:1], indirect=True)
def test_another_file_is_not_taken_for_the_destination(
    queue: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "d"
    assert batchq("copy", source, queue).returncode == 0
    assert batchq("copy", queue, target).returncode == 0
    target.write_bytes(b"one\ntwO\n")
    done = batchq("copy", "--resume", queue, target)
    assert done.returncode == 5
    assert target.read_bytes() == b"one\ntwO\n"


@pytest.mark.parametrize("source", CONTENTS[:1], indirect=True)
def test_a_queue_that_was_not_read_is_read(queue: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "d"
    target.write_bytes(source.read_bytes())
    assert batchq("copy", source, queue).returncode == 0
    assert batchq("copy", "--resume", queue, target).returncode == 0
    assert stats(queue)["drained"]


@pytest.mark.parametrize("source", CONTENTS[:1], indirect=True)
def test_another_source_is_not_taken_for_what_was_written(queue: str, source: Path) -> None:
    assert batchq("copy", "--resume", source, queue).returncode == 0
    source.write_bytes(b"one\ntwO\n")
    done = batchq("copy", "--resume", source, queue)
    assert done.returncode == 1
    assert "no record" in said(done)
