"""Standard streams that are closed, full, or left by whoever read them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import pytest
from support.copies import COMMAND, SECONDS, environment
from support.servers import ServerProcess

Done = tuple[int, bytes, str]


def run(*arguments: object, closed: Iterable[int] = (), full: Iterable[int] = ()) -> Done:
    """Runs a command without some standard streams, or with some that take nothing."""

    redirections = [f"{fd}>&-" for fd in closed] + [f"{fd}>/dev/full" for fd in full]
    done = subprocess.run(
        ["sh", "-c", " ".join(['exec "$@"', *redirections]), "sh", *COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def queue(server: ServerProcess) -> str:
    return f"{server.url}/{uuid4().hex}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "s"
    path.write_bytes(b"a\nb\n")
    return path


class TestClosed:
    @pytest.mark.parametrize("more", [(), (2,)])
    def test_input(self, queue: str, more: tuple[int, ...]) -> None:
        code, _, err = run("copy", "-", queue, closed=(0, *more))
        assert code == 2
        assert more or err == "batchq: the standard input is closed, and is needed here\n"

    def test_output(self, queue: str, source: Path) -> None:
        assert run("copy", source, queue)[0] == 0
        assert run("copy", queue, "-", closed=[1]) == (
            2,
            b"",
            "batchq: the standard output is closed, and is needed here\n",
        )
        assert run("copy", queue, "-")[1] == b"a\nb\n", "it was not touched"

    @pytest.mark.parametrize("closed", [(2,), (0, 1), (0, 1, 2)])
    def test_what_is_not_needed(
        self, queue: str, source: Path, tmp_path: Path, closed: tuple[int, ...]
    ) -> None:
        assert run("copy", source, queue, closed=closed) == (0, b"", "")
        assert run("copy", queue, tmp_path / "d", closed=closed) == (0, b"", "")
        assert (tmp_path / "d").read_bytes() == b"a\nb\n"

    def test_a_local_copy(self, source: Path, tmp_path: Path) -> None:
        assert run("copy", source, tmp_path / "d", closed=(0, 1, 2)) == (0, b"", "")
        assert (tmp_path / "d").read_bytes() == b"a\nb\n"

    @pytest.mark.parametrize("closed", [1, 2])
    def test_a_summary(self, queue: str, source: Path, closed: int) -> None:
        sides = (source, queue) if closed == 1 else (queue, "-")
        assert run("copy", "--json", *sides, closed=[closed])[0] == 2

    @pytest.mark.parametrize("command", [("generate", 3), ("bench", "http://127.0.0.1:1")])
    def test_other_commands(self, command: tuple[object, ...]) -> None:
        code, _, err = run(*command, closed=[1])
        assert (code, err) == (2, "batchq: the standard output is closed, and is needed here\n")


class TestFull:
    def test_the_summary_of_a_copy_that_is_complete(self, queue: str, source: Path) -> None:
        code, _, err = run("copy", "--json", source, queue, full=[1])
        assert (code, err.count("\n")) == (1, 1)
        assert err.startswith("batchq: the copy is complete, but not its summary: can't write")
        assert run("copy", queue, "-")[1] == b"a\nb\n"

    def test_the_summary_of_a_copy_that_failed(self, queue: str) -> None:
        code, _, err = run("copy", "--json", "--wait", "0.05", queue, "/dev/null", full=[1])
        assert (code, err.count("\n")) == (3, 1)

    def test_a_summary_on_stderr(self, queue: str, source: Path) -> None:
        assert run("copy", source, queue)[0] == 0
        assert run("copy", "--json", queue, "-", full=[2]) == (1, b"a\nb\n", "")

    @pytest.mark.parametrize(
        "command", [("generate", 3), ("--help",), ("copy", "--help"), ("--version",)]
    )
    def test_other_commands(self, command: tuple[object, ...]) -> None:
        code, _, err = run(*command, full=[1])
        assert (code, err.count("\n")) == (1, 1)
        assert "No space left on device" in err

    def test_messages(self, tmp_path: Path) -> None:
        assert run("copy", tmp_path / "none", tmp_path / "d", full=[2])[0] == 2
        assert run("copy", full=[1, 2])[0] == 2

    def test_a_server_that_can_not_announce_itself_serves(self) -> None:
        with (
            Path("/dev/full").open("wb") as full,
            subprocess.Popen(
                [*COMMAND, "server", "--port", "0", "--store", "memory:"],
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(),
            ) as process,
        ):
            assert process.stderr is not None
            warned = process.stderr.readline().decode()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=SECONDS)
        assert "batchq listening on http://127.0.0.1:" in warned
        assert "No space left on device" in warned
        assert (process.returncode, err) == (0, b"")


def test_nobody_reads_the_summary(queue: str, source: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "copy", "--json", str(source), queue],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert (process.wait(SECONDS), process.stderr.read()) == (141, b"")


def test_a_name_that_is_no_text(queue: str, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"\xff")
    source.write_bytes(b"a\n")
    code, out, _ = run("copy", "--json", source, queue)
    assert code == 0
    assert json.loads(out)["source"] == str(source)
