"""``batchq`` commands as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

COMMAND = (sys.executable, "-m", "batchq")
SECONDS = 60.0
"""A command that takes longer has failed."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, in which a warning is an error.

    It says nothing of a terminal's size, as a process that runs tests side by side does.
    """
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return {**own, "PYTHONWARNINGS": "error", **(extra or {})}


def batchq(
    *arguments: object,
    input: bytes | None = None,  # noqa: A002  as subprocess has it
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=b"" if input is None else input,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env=environment(env),
        cwd=cwd,
    )


def start(*arguments: object, stdin: int | IO[Any] | None = None) -> subprocess.Popen[bytes]:
    """Starts a command with its output on pipes; the caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a command said on stderr: at most one line."""
    text = done.stderr.decode()
    assert text.count("\n") <= 1, text
    return text


def until_filled(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Waits until a command has written to a file: the file system tells nobody."""
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)


def obedient(*command: object) -> list[str]:
    """A command line whose signals do what they do by themselves.

    A test run that was started in the background, or by nohup, has some of them ignored, and
    every process that it starts would inherit that.
    """
    return [sys.executable, "-c", _OBEDIENT, *map(str, command)]


_OBEDIENT = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
