"""Ctrl-C while a command starts: one line and 130, whatever is being imported."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.copies import COMMAND, SECONDS, environment, obedient

# Python looks for a module of this name at its start. The signal comes when an import begins.
_SITE = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""

_COPY = ("copy", "none", "none2")
_SERVER = ("server", "--port", "0")


@pytest.mark.parametrize(
    ("command", "imported"),
    [
        (_COPY, "click"),
        (_COPY, "batchq.cli.command"),
        (_COPY, "batchq.cli.copy"),
        (_COPY, "uvloop"),
        (_COPY, "httpx"),
        (_COPY, "batchq_client.copy.jobs"),
        (_SERVER, "quart"),
        (_SERVER, "hypercorn.asyncio"),
        # Imported by the command itself.
        (_SERVER, "batchq.stores.sqlite"),
        (("bench", "http://127.0.0.1:1"), "uvloop"),
        (("generate", "3"), "batchq.cli.generate"),
    ],
)
def test_while_it_starts(tmp_path: Path, command: tuple[str, ...], imported: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(_SITE)
    variables = environment()
    paths = [str(tmp_path), *filter(None, [variables.get("PYTHONPATH")])]
    done = subprocess.run(
        obedient(*COMMAND, *command),
        env={**variables, "PYTHONPATH": ":".join(paths), "INTERRUPT_AT": imported},
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"batchq: interrupted\n")
