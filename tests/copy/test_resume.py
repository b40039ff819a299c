"""Copies that are killed at random points, and go on with ``--resume``."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from uuid import uuid4

import httpx
import pytest
from support.copies import batchq, said, start
from support.servers import ServerProcess
from support.stream import assert_identical

Holds = Callable[[], bool]

SMALL = ("--batch-bytes", "4KiB", "--lease", "1", "--wait", "0.5", "--retries", "20")


@pytest.fixture
def queue(server: ServerProcess) -> str:
    return f"{server.url}/{uuid4().hex}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"".join(b"%09d of many\n" % n for n in range(200_000)) + b"the end")
    return path


def stats(queue: str) -> dict[str, object]:
    base, _, name = queue.rpartition("/")
    answer = httpx.get(f"{base}/queues/{name}")
    told: dict[str, object] = answer.json()
    return told if answer.is_success else {}


def kill_when(process: Popen[bytes], holds: Holds) -> bool:
    """Kills a command once a condition holds; tells whether it still ran then."""
    while process.poll() is None and not holds():
        time.sleep(0.002)  # nobody tells of the condition
    ran = process.poll() is None
    process.kill()
    process.communicate()
    return ran


def has_bytes(queue: str, count: int) -> Holds:
    return lambda: int(str(stats(queue).get("bytes", 0))) >= count


def journal_grew(path: Path, records: int) -> Holds:
    journal = path.with_name(path.name + ".part.journal")
    return lambda: journal.exists() and journal.read_bytes().count(b"\n") >= records


def test_a_writer_killed_again_and_again(queue: str, source: Path, tmp_path: Path) -> None:
    chance = random.Random(4)
    size = source.stat().st_size
    killed = 0
    for part in range(1, 6):
        process = start("copy", "--resume", *SMALL[:2], source, queue)
        killed += kill_when(process, has_bytes(queue, size * part // 7 + chance.randrange(50_000)))
    assert killed >= 3
    before = stats(queue)
    assert not before["closed"]
    done = batchq("copy", "--json", "--resume", source, queue)
    assert done.returncode == 0, said(done)
    summary = json.loads(done.stdout)
    assert (summary["lines"], summary["bytes"]) == (200_001, size)
    assert summary["digest"] == stats(queue)["digest"]
    done = batchq("copy", "--json", queue, tmp_path / "d")
    assert done.returncode == 0, said(done)
    assert json.loads(done.stdout)["digest_compared"]
    assert_identical(source, tmp_path / "d")


def test_a_reader_killed_again_and_again(queue: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "d"
    assert batchq("copy", source, queue).returncode == 0
    chance = random.Random(5)
    killed = 0
    # The journal has a record more for each group that was made safe and acknowledged.
    for _ in range(3):
        process = start("copy", "--resume", *SMALL, "--in-flight", "1", queue, target)
        records = target.with_name("d.part.journal")
        had = records.read_bytes().count(b"\n") if records.exists() else 0
        killed += kill_when(process, journal_grew(target, had + chance.randrange(1, 3)))
    assert killed >= 1
    done = batchq("copy", "--json", "--resume", *SMALL, queue, target)
    assert done.returncode == 0, said(done)
    assert json.loads(done.stdout)["digest_compared"]
    assert_identical(source, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "source"]


def test_both_sides_killed_at_any_time(queue: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "d"
    chance = random.Random(6)
    sides = [(source, queue), (queue, target)]
    running = [start("copy", "--resume", *SMALL, *side) for side in sides]
    killed = 0
    for _ in range(6):
        time.sleep(chance.uniform(0.3, 0.9))  # any time is as good as another
        side = chance.randrange(2)
        if running[side].poll() is not None:
            continue
        killed += 1
        running[side].kill()
        running[side].communicate()
        running[side] = start("copy", "--resume", *SMALL, *sides[side])
    errors = [process.communicate(timeout=60)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert killed
    assert_identical(source, target)


def test_a_writer_that_was_killed_after_its_close(queue: str, source: Path) -> None:
    process = start("copy", source, queue)
    kill_when(process, lambda: bool(stats(queue).get("closed")))
    before = stats(queue)
    done = batchq("copy", "--json", "--resume", source, queue)
    # Whether it had forgotten its record makes no difference.
    assert done.returncode == 0, said(done)
    assert json.loads(done.stdout)["digest"] == before["digest"]
    assert stats(queue) == before


def test_a_writer_that_lives_on_beside_the_one_that_resumed_it(
    queue: str, source: Path, state_home: Path, tmp_path: Path
) -> None:
    old = start("copy", *SMALL[:2], source, queue)
    while not has_bytes(queue, 400_000)():
        assert old.poll() is None
        time.sleep(0.002)  # nobody tells of the condition
    old.send_signal(signal.SIGSTOP)
    # Its record is locked: on a machine that was restored from a copy it is not.
    shutil.copytree(state_home, tmp_path / "restored")
    env = {"XDG_STATE_HOME": str(tmp_path / "restored")}
    done = batchq("copy", "--json", "--resume", source, queue, env=env)
    assert done.returncode == 0, said(done)
    before = stats(queue)
    assert json.loads(done.stdout)["digest"] == before["digest"]
    old.send_signal(signal.SIGCONT)
    _, err = old.communicate(timeout=60)
    assert old.returncode == 1
    assert b"a newer writer than epoch 0" in err, err
    assert stats(queue) == before
    done = batchq("copy", "--json", queue, tmp_path / "d")
    assert done.returncode == 0, said(done)
    assert json.loads(done.stdout)["digest_compared"]
    assert_identical(source, tmp_path / "d")


def test_a_source_whose_copy_still_runs(queue: str, source: Path) -> None:
    old = start("copy", *SMALL[:2], source, queue)
    while not has_bytes(queue, 400_000)():
        assert old.poll() is None
        time.sleep(0.002)  # nobody tells of the condition
    old.send_signal(signal.SIGSTOP)
    done = batchq("copy", "--resume", source, queue)
    old.send_signal(signal.SIGCONT)
    assert done.returncode == 1
    assert "another copy of the same source" in said(done)
    assert old.communicate(timeout=60) == (b"", b"")


def test_a_state_directory_that_can_not_be_used(queue: str, source: Path, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    env = {"XDG_STATE_HOME": str(taken)}
    done = batchq("copy", source, queue, env=env)
    assert done.returncode == 0
    assert f"can't use {taken}" in said(done)
    assert "can't be gone on with" in said(done)
    done = batchq("copy", "--quiet", source, tmp_path / "d", env=env)
    assert (done.returncode, done.stderr) == (0, b""), "a local copy has no need of it"


def test_a_host_that_is_spelled_in_another_way(queue: str, source: Path) -> None:
    interrupted_writer(queue, source)
    before = stats(queue)
    done = batchq("copy", "--resume", source, queue.replace("127.0.0.1", "localhost"))
    assert done.returncode == 1
    assert "by the URL as it is written" in said(done)
    assert stats(queue) == before


def interrupted_writer(queue: str, source: Path) -> None:
    process = start("copy", "--batch-bytes", "4KiB", source, queue)
    assert kill_when(process, has_bytes(queue, 1_200_000))


def test_a_source_that_was_changed(queue: str, source: Path) -> None:
    interrupted_writer(queue, source)
    before = stats(queue)
    with source.open("ab") as file:
        file.write(b" and more\n")
    done = batchq("copy", "--resume", source, queue)
    assert done.returncode == 1
    assert "was changed" in said(done)
    assert stats(queue) == before


def test_a_source_that_was_changed_in_secret(queue: str, source: Path) -> None:
    interrupted_writer(queue, source)
    times = source.stat()
    with source.open("r+b") as file:
        file.write(b"x")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = batchq("copy", "--resume", source, queue)
    assert done.returncode == 1
    assert "was changed" in said(done)
    assert not stats(queue)["closed"]


def test_a_queue_that_was_deleted(queue: str, source: Path) -> None:
    interrupted_writer(queue, source)
    base, _, name = queue.rpartition("/")
    assert httpx.delete(f"{base}/queues/{name}").is_success
    done = batchq("copy", "--resume", source, queue)
    assert done.returncode == 1
    assert "not the one any more" in said(done)


def test_resume_without_a_record(queue: str, source: Path) -> None:
    assert batchq("copy", "--resume", "--keep-open", source, queue).returncode == 0, "none yet"
    before = stats(queue)
    done = batchq("copy", "--resume", source, queue)
    assert done.returncode == 1
    assert "no record" in said(done)
    assert stats(queue) == before


def test_a_record_is_kept_no_longer_than_needed(queue: str, source: Path, state_home: Path) -> None:
    interrupted_writer(queue, source)
    folder = state_home / "batchq" / "copies"
    assert len(list(folder.iterdir())) == 1
    assert batchq("copy", "--resume", source, queue).returncode == 0
    assert list(folder.iterdir()) == []


def interrupted_reader(queue: str, source: Path, target: Path) -> Path:
    """Leaves a part file whose beginning is safe, and lines in the queue; gives the part file."""
    assert batchq("copy", "--keep-open", source, queue).returncode == 0
    done = batchq("copy", "--wait", "0.05", "--retries", "1", queue, target)
    assert done.returncode == 3
    base, _, name = queue.rpartition("/")
    assert httpx.post(f"{base}/push/{name}", content=b"last\n").is_success
    assert httpx.post(f"{base}/close/{name}").is_success
    return target.with_name(target.name + ".part")


def test_a_reader_that_gave_up_goes_on(queue: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "d"
    part = interrupted_reader(queue, source, target)
    with part.open("ab") as file:
        file.write(b"torn by the crash")
    assert batchq("copy", "--resume", queue, target).returncode == 0
    assert target.read_bytes() == source.read_bytes() + b"\nlast\n"


def test_without_resume_a_reader_begins_anew(queue: str, source: Path, tmp_path: Path) -> None:
    part = interrupted_reader(queue, source, tmp_path / "d")
    done = batchq("copy", queue, tmp_path / "d")
    assert done.returncode == 5
    assert "lines 1 to 200001 of queue" in said(done)
    assert not part.exists()
    assert stats(queue)["ready_lines"] == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda part: os.truncate(part, 1000), "was changed"),
        (lambda part: part.write_bytes(b"x" + part.read_bytes()[1:]), "was changed"),
        (lambda part: part.unlink(), "was changed"),
        (lambda part: part.with_name("d.part.journal").unlink(), "no journal"),
        (lambda part: part.with_name("d.part.journal").write_bytes(b"{}\n"), "no journal"),
    ],
)
def test_a_part_file_that_was_changed(
    queue: str, source: Path, tmp_path: Path, change: Callable[[Path], object], says: str
) -> None:
    change(interrupted_reader(queue, source, tmp_path / "d"))
    before = stats(queue)
    done = batchq("copy", "--resume", queue, tmp_path / "d")
    assert done.returncode == 1
    assert says in said(done)
    assert stats(queue) == before
    assert not (tmp_path / "d").exists()


def test_a_part_file_of_another_queue(queue: str, source: Path, tmp_path: Path) -> None:
    interrupted_reader(queue, source, tmp_path / "d")
    done = batchq("copy", "--resume", queue + "-other", tmp_path / "d")
    assert done.returncode == 1
    assert f"is a part of {queue}, not of" in said(done)


def test_a_queue_that_was_replaced(queue: str, source: Path, tmp_path: Path) -> None:
    part = interrupted_reader(queue, source, tmp_path / "d")
    before = part.read_bytes()
    base, _, name = queue.rpartition("/")
    assert httpx.delete(f"{base}/queues/{name}").is_success
    assert httpx.post(f"{base}/push/{name}", content=b"other\n").is_success
    done = batchq("copy", "--resume", queue, tmp_path / "d")
    assert done.returncode == 1
    assert part.read_bytes() == before


@pytest.mark.parametrize(
    ("sides", "says"),
    [
        (("http://h/a", "http://h/b"), "relay"),
        (("/etc/passwd", "d"), "local copy"),
        (("-", "http://h/a"), "regular file"),
        (("http://h/a", "-"), "regular file"),
        (("http://h/a", "/dev/null"), "regular file"),
        (("--shared", "http://h/a", "d"), "--shared"),
    ],
)
def test_what_can_not_be_resumed(sides: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = batchq("copy", "--resume", *sides, cwd=tmp_path)
    assert done.returncode == 2
    assert says in said(done)
    assert list(tmp_path.iterdir()) == []
