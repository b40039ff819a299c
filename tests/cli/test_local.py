"""Local copies and their server: neither stays without the other."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.copies import COMMAND, SECONDS, environment, obedient, until_filled
from support.terminal import Terminal


@contextmanager
def copying(target: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A local copy from a pipe, under way; and a descriptor of its server's process."""
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                obedient(*COMMAND, "copy", "-", target),
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
            )
        )
        stack.callback(process.kill)
        assert process.stdin is not None
        process.stdin.write(b"a\n")
        process.stdin.flush()
        # Its server is there once the line has come through it.
        until_filled(target.with_name(f"{target.name}.part"), process)
        yield process, stack.enter_context(server_of(process))


@contextmanager
def server_of(process: subprocess.Popen[bytes]) -> Iterator[int]:
    (child,) = map(
        int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    )
    descriptor = os.pidfd_open(child)
    try:
        yield descriptor
    finally:
        if not select.select([descriptor], [], [], 0)[0]:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def has_ended(descriptor: int) -> bool:
    """Waits for the end of a process that may be nobody's child any more."""
    return bool(select.select([descriptor], [], [], SECONDS / 2)[0])


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 129), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_the_server_ends_with_the_copy(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with copying(tmp_path / "d") as (process, server):
        process.send_signal(number)
        assert process.wait(SECONDS) == code
        assert has_ended(server)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    if number is signal.SIGHUP:
        assert "SIGHUP" in said
        assert f"what came is in {tmp_path / 'd'}.part" in said
    assert said.count("\n") == int(number is not signal.SIGKILL)


def test_the_copy_ends_with_the_server(tmp_path: Path) -> None:
    with copying(tmp_path / "d") as (process, server):
        signal.pidfd_send_signal(server, signal.SIGKILL)
        # Far from the time for which a fault is retried: 300 s.
        assert process.wait(SECONDS) == 1
        assert process.stderr is not None
        said = process.stderr.read().decode().splitlines()
    assert said[-1].startswith(
        "batchq: the local server ended before the copy: killed by SIGKILL; what came is in"
    )
    assert not (tmp_path / "d").exists()


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    into = tmp_path / "in"
    os.mkfifo(into)
    with Terminal("copy", into, tmp_path / "d") as terminal, into.open("wb", buffering=0) as source:
        source.write(b"a\n")
        until_filled(tmp_path / "d.part", terminal.process)
        with server_of(terminal.process) as server:
            terminal.until(lambda shown: "lines/s" in shown)
            terminal.hang_up()
            assert terminal.wait() == 129
            assert has_ended(server)
    assert (tmp_path / "d.part").read_bytes() == b"a\n"


def test_a_hang_up_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    with subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND, "copy", "-", str(tmp_path / "d")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"a\n")
        process.stdin.flush()
        until_filled(tmp_path / "d.part", process)
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(b"b\n", timeout=SECONDS)
    assert (process.returncode, err) == (0, b"")
    assert (tmp_path / "d").read_bytes() == b"a\nb\n"


def test_the_server_is_not_made_of_what_lies_around(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "s").write_bytes(b"a\n")
    command = shutil.which("batchq", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run(
        [command, "copy", "s", "d"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "d").read_bytes() == b"a\n"
