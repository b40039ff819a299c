"""How copies end: closed or not, complete or not, and with which exit code."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from support.copies import batchq, said, start
from support.servers import ServerProcess

from batchq_client.copy import EXIT_CODES

DATA = b"a\nb\nc"


@pytest.fixture
def queue(server: ServerProcess) -> str:
    return f"{server.url}/{uuid4().hex}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def call(queue: str, verb: str, **options: object) -> httpx.Response:
    base, _, name = queue.rpartition("/")
    if verb == "stats":
        return httpx.get(f"{base}/queues/{name}")
    return httpx.post(f"{base}/{verb}/{name}", **options)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_not_closed(queue: str, source: Path, tmp_path: Path) -> None:
    done = batchq("copy", "--keep-open", source, queue)
    assert done.returncode == 0
    assert "no newline" in said(done)
    target = tmp_path / "d"
    target.write_bytes(b"old")
    done = batchq("copy", "--wait", "0.05", "--retries", "2", queue, target)
    assert done.returncode == 3
    assert "not closed" in said(done)
    assert f"{target}.part" in said(done)
    assert target.read_bytes() == b"old"
    assert (tmp_path / "d.part").read_bytes() == DATA + b"\n"


def test_nothing_came(queue: str, tmp_path: Path) -> None:
    done = batchq("copy", "--wait", "0.05", queue, tmp_path / "d")
    assert done.returncode == 3
    assert names(tmp_path) == []
    assert call(queue, "stats").status_code == 404, "a reader does not make a queue"


@pytest.mark.parametrize("form", ["copy", "read"])
def test_until_idle(queue: str, source: Path, tmp_path: Path, form: str) -> None:
    batchq("copy", "--keep-open", source, queue)
    base, _, name = queue.rpartition("/")
    sides = ["--until-idle", queue] if form == "copy" else [base, name]
    done = batchq(form, "--json", "--wait", "0.05", "--retries", "1", *sides, tmp_path / "d")
    assert done.returncode == 0, said(done)
    summary = json.loads(done.stdout)
    assert (summary["closed"], summary["complete"], summary["lines"]) == (False, False, 3)
    assert (tmp_path / "d").read_bytes() == DATA + b"\n"
    assert names(tmp_path) == ["d", "source"]


def test_write_and_read(server: ServerProcess, source: Path, tmp_path: Path) -> None:
    name = uuid4().hex
    assert batchq("write", server.url + "/", name, source).returncode == 0
    assert batchq("read", server.url, name, tmp_path / "d").returncode == 0
    assert (tmp_path / "d").read_bytes() == DATA


def test_a_digest_that_differs(queue: str, tmp_path: Path) -> None:
    call(queue, "push", content=b"a\nb\n")
    call(queue, "close", json={"digest": "xxh3-128:" + "0" * 32})
    done = batchq("copy", queue, tmp_path / "d")
    assert done.returncode == 4
    assert "digest" in said(done)
    assert names(tmp_path) == ["d.part"]


def test_lines_that_went_elsewhere(queue: str, source: Path, tmp_path: Path) -> None:
    batchq("copy", source, queue)
    assert call(queue, "pull", params={"max": 1}).content == b"a\n"
    done = batchq("copy", queue, tmp_path / "d")
    assert done.returncode == 5
    assert "line 1 of queue" in said(done)
    assert names(tmp_path) == ["source"]
    assert call(queue, "stats").json()["ready_lines"] == 2, "what can't be whole is left there"


def test_lines_that_went_elsewhere_shared(queue: str, source: Path, tmp_path: Path) -> None:
    batchq("copy", source, queue)
    call(queue, "pull", params={"max": 1})
    done = batchq("copy", "--json", "--shared", queue, tmp_path / "d")
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert (summary["complete"], summary["digest_compared"]) == (False, False)
    assert "not compared" in summary["warnings"][0]
    assert (tmp_path / "d").read_bytes() == b"b\nc\n"


def test_a_drained_closed_queue_is_used_again(queue: str, source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert batchq("copy", source, queue).returncode == 0
        assert batchq("copy", queue, tmp_path / "d").returncode == 0
    assert (tmp_path / "d").read_bytes() == DATA


def test_a_closed_queue_that_holds_lines_is_left_alone(queue: str, source: Path) -> None:
    batchq("copy", source, queue)
    before = call(queue, "stats").json()
    done = batchq("copy", source, queue)
    assert done.returncode == 1
    assert "closed and still holds 3 lines" in said(done)
    assert call(queue, "stats").json() == before


def test_a_queue_with_lines_of_others(queue: str, source: Path, tmp_path: Path) -> None:
    call(queue, "push", content=b"first\n")
    done = batchq("copy", source, queue)
    assert done.returncode == 0
    assert "without a digest" in said(done)
    done = batchq("copy", "--json", queue, tmp_path / "d")
    assert done.returncode == 0
    assert not json.loads(done.stdout)["digest_compared"]
    assert (tmp_path / "d").read_bytes() == b"first\n" + DATA


def test_keep_open_then_close(queue: str, source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        batchq("copy", "--keep-open", source, queue)
    call(queue, "close")
    assert batchq("copy", queue, tmp_path / "d").returncode == 0
    assert (tmp_path / "d").read_bytes() == (DATA + b"\n") * 2


@pytest.mark.parametrize("piped", [False, True])
def test_a_line_above_the_limit(
    make_server: Callable[..., ServerProcess], tmp_path: Path, piped: bool
) -> None:
    server = make_server("--max-body", "100000")
    queue = f"{server.url}/q"
    data = b"short\n" * 50_000 + b"x" * 100_000 + b"\nend\n"
    source = tmp_path / "s"
    source.write_bytes(data)
    options = ("copy", "--batch-bytes", "50000")
    done = batchq(*options, "-" if piped else source, queue, input=data if piped else None)
    assert done.returncode == 1
    for part in ("line 50001", "100000 bytes", "--max-body"):
        assert part in said(done)
    stats = call(queue, "stats")
    assert stats.status_code == 404 or not stats.json()["closed"]


def test_lines_of_the_limit_pass(make_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    queue = f"{make_server('--max-body', '100000').url}/q"
    source = tmp_path / "s"
    source.write_bytes((b"x" * 99_999 + b"\n") * 5 + b"y" * 100_000)
    done = batchq("copy", "--batch-bytes", "100000", source, queue)
    assert done.returncode == 0, said(done)
    assert batchq("copy", queue, tmp_path / "d").returncode == 0
    assert (tmp_path / "d").read_bytes() == source.read_bytes()


def test_a_full_queue_is_waited_for(
    make_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    # Everything must pass through a queue that holds a hundredth of it.
    server = make_server("--max-queue-bytes", "20000")
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"".join(b"%07d\n" % n for n in range(250_000)))
    queue = f"{server.url}/q"
    writer = start("copy", "--batch-bytes", "5000", source, queue)
    reader = start("copy", queue, target)
    assert writer.communicate(timeout=60) == (b"", b"")
    assert reader.communicate(timeout=60) == (b"", b"")
    assert (writer.returncode, reader.returncode) == (0, 0)
    assert target.read_bytes() == source.read_bytes()


def test_the_mode_and_the_link_of_the_destination_stay(
    queue: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "real"
    target.write_bytes(b"old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    batchq("copy", source, queue)
    assert batchq("copy", queue, tmp_path / "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == DATA
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_devices(queue: str, source: Path) -> None:
    batchq("copy", source, queue)
    assert batchq("copy", queue, os.devnull).returncode == 0
    assert batchq("copy", os.devnull, queue).returncode == 0
    done = batchq("copy", "--json", os.devnull, "-")
    assert json.loads(done.stderr)["lines"] == 0


def test_a_destination_that_is_full(queue: str, source: Path) -> None:
    batchq("copy", source, queue)
    done = batchq("copy", queue, "/dev/full")
    assert done.returncode == 1
    assert "No space left" in said(done)


def test_the_summary(queue: str, source: Path) -> None:
    summary = json.loads(batchq("copy", "--json", source, queue).stdout)
    assert summary["source"] == str(source)
    assert summary["destination"] == queue
    assert (summary["lines"], summary["bytes"], summary["unterminated"]) == (3, 5, True)
    assert (summary["exit_code"], summary["error"], summary["closed"]) == (0, None, True)
    assert summary["digest"] == call(queue, "stats").json()["digest"]
    failed = json.loads(batchq("copy", "--json", source, queue).stdout)
    assert failed["exit_code"] == 1
    assert "still holds" in failed["error"]


def test_a_server_that_is_not_there(source: Path) -> None:
    done = batchq("copy", "--retry-for", "0.2", source, "http://127.0.0.1:1/q")
    assert done.returncode == 1
    assert "can't reach http://127.0.0.1:1" in said(done)


def test_who_waits_for_a_server_is_told(source: Path) -> None:
    done = batchq("copy", "--quiet", "--retry-for", "2", source, "http://127.0.0.1:1/q")
    assert done.returncode == 1
    first, last = done.stderr.decode().splitlines()
    assert first.endswith("; trying again for up to 2 s")
    assert last.endswith("(for 2 s)")


def test_who_waits_for_room_is_told(
    make_server: Callable[..., ServerProcess], source: Path
) -> None:
    source.write_bytes(b"a line of some length\n" * 1000)
    server = make_server("--max-queue-bytes", "4KiB")
    url = f"{server.url}/full"
    process = start("copy", "--quiet", "--batch-bytes", "1KiB", source, url)
    assert process.stderr is not None
    assert process.stderr.readline().endswith(b"; waiting for room\n")
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "arguments",
    [
        ("a", "http://h/push/q"),
        ("http://h/pull/q", "a"),
        ("ftp://h/q", "a"),
        ("", "a"),
        ("missing-file", "http://h/q"),
        ("a",),
        ("--batch-bytes", "0", "a", "b"),
        ("--batch-bytes", "1e6", "a", "b"),
        ("--batch-bytes", "999999999999999G", "a", "b"),
        ("--batch-bytes", "", "a", "b"),
        ("--in-flight", "0", "a", "b"),
        ("--in-flight", "65", "a", "b"),
        ("--linger", "-1", "a", "b"),
        ("--linger", "nan", "a", "b"),
        ("--wait", "inf", "a", "b"),
        ("--wait", "1e99", "a", "b"),
        ("--retries", "0", "a", "b"),
        ("--retries", "x", "a", "b"),
        ("--retry-for", "99999999", "a", "b"),
        ("--lease", "0", "http://h/q", "d"),
        ("--lease", "0.00001", "http://h/q", "d"),
        ("--keep-open", "-", "d"),
        ("--until-idle", "-", "d"),
        ("--shared", "-", "d"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = batchq("copy", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert names(tmp_path) == []


def test_the_environment(queue: str, source: Path, tmp_path: Path) -> None:
    done = batchq("copy", source, queue, env={"BATCHQ_BATCH_BYTES": "none"})
    assert done.returncode == 2
    assert b"BATCHQ_BATCH_BYTES" in done.stderr
    batchq("copy", source, queue, env={"BATCHQ_KEEP_OPEN": "1"})
    env = {"BATCHQ_WAIT": "0.05", "BATCHQ_RETRIES": "1", "BATCHQ_UNTIL_IDLE": "true"}
    assert batchq("copy", queue, tmp_path / "d", env=env).returncode == 0


@pytest.mark.parametrize("command", ["copy", "write", "read"])
def test_help_lists_exit_codes_defaults_and_variables(command: str) -> None:
    text = batchq(command, "--help").stdout.decode()
    for code, meaning in EXIT_CODES.items():
        assert f"  {code:<4} {meaning}" in text
    squeezed = " ".join(text.split())
    assert "env var: BATCHQ_BATCH_BYTES; default: 1MiB" in squeezed
