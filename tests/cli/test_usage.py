"""Wrong values, as a careless user gives them: exit code 2, and a word of what is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.copies import batchq


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("generate", "1e3"), "is not a whole number from 0 to"),
        (("generate", "nan"), "is not a whole number from 0 to"),
        (("bench", ""), "is not a server's URL"),
        (("bench", "http://127.0.0.1:1", "--seconds", "inf"), "is not a number of seconds"),
        (("bench", "http://127.0.0.1:1", "--batch-bytes", "0"), "is not a size from 1 to"),
        (
            ("bench", "http://127.0.0.1:1", "--in-flight", "65"),
            "is not a whole number from 1 to 64",
        ),
        (("copy", "--retries", "", "a", "b"), "is not a whole number from 1 to"),
        (("server", "--store", "sqlite:/"), "is a directory: name a file in it"),
    ],
)
def test_arguments(command: tuple[str, ...], said: str) -> None:
    done = batchq(*command)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "command"),
    [
        ("BATCHQ_SECONDS", "1e3", ("bench", "http://127.0.0.1:1")),
        ("BATCHQ_START", "x", ("generate", "1")),
        ("BATCHQ_MAX_WAIT", "1e3", ("server",)),
        ("BATCHQ_FSYNC_INTERVAL", "inf", ("server",)),
        ("BATCHQ_QUIET", "maybe", ("copy", "a", "b")),
    ],
)
def test_variables(variable: str, value: str, command: tuple[str, ...]) -> None:
    done = batchq(*command, env={variable: value})
    assert done.returncode == 2
    assert variable in done.stderr.decode(), "the message names the variable"


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    done = batchq("store", "backup", tmp_path / "none", tmp_path / "to")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
