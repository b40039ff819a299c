"""Runs the blocks marked ``console`` of README and docs: commands behind ``$ ``, then their output.

A page is one shell session in an empty folder. A command that starts a server is started by
the test on a free port, and the port that the page names is replaced; where a page starts a
redis-server, there is one, and its port is replaced too. In an expected output
``...`` stands for anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.ports import free_port
from support.redis_servers import RedisServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "```console" in page.read_text()
)
PAGE_PORT = "8080"
PAGE_REDIS = "6379"
MARK = "---end-of-command-{}---"


@dataclass
class Example:
    command: str
    output: list[str] = field(default_factory=list)


def examples(text: str) -> Iterator[Example]:
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        example: Example | None = None
        for line in block.splitlines():
            if line.startswith("$ "):
                if example is not None:
                    yield example
                example = Example(line[2:])
            elif example is not None:
                example.output.append(line)
        if example is not None:
            yield example


def matches(expected: list[str], output: str) -> bool:
    while expected and not expected[-1]:
        expected = expected[:-1]
    pattern = "\n".join(
        ".*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") for line in expected
    )
    return re.fullmatch(pattern + r"\n*", output, re.DOTALL) is not None


def run(commands: list[str], folder: Path, path: str) -> list[str]:
    """Runs commands in one shell; gives each one's output."""
    script = "\n".join(f"{command}\necho '{MARK.format(n)}'" for n, command in enumerate(commands))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    outputs = re.split(r"---end-of-command-\d+---\n", done.stdout)
    assert len(outputs) == len(commands) + 1, done.stdout + done.stderr
    return outputs[:-1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_of(page: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = list(examples(page.read_text()))
        if any(example.command.startswith("redis-server") for example in found):
            redis = stack.enter_context(RedisServer())
            found = [
                Example(example.command.replace(PAGE_REDIS, str(redis.port)), example.output)
                for example in found
                if not example.command.startswith("redis-server")
            ]
        run_page(found, tmp_path)


def run_page(found: list[Example], tmp_path: Path) -> None:
    """Runs a page's commands, and compares what they print."""
    starts = [example for example in found if example.command.startswith("batchq server")]
    others = [example for example in found if example not in starts]
    commands = Path(sys.executable).parent
    assert shutil.which("batchq", path=str(commands)) is not None
    path = f"{commands}:/usr/local/bin:/usr/bin:/bin"
    port = str(free_port())
    servers = []
    try:
        for start in starts:
            command = start.command.replace(PAGE_PORT, port).split()
            server = subprocess.Popen(
                [str(commands / command[0]), *command[1:]],
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            servers.append(server)
            assert server.stdout is not None
            assert server.stdout.readline().rstrip() == start.output[0].replace(PAGE_PORT, port)
        outputs = run([e.command.replace(PAGE_PORT, port) for e in others], tmp_path, path)
    finally:
        for server in servers:
            server.terminate()
            server.communicate(timeout=20)
    for example, output in zip(others, outputs, strict=True):
        wanted = [line.replace(PAGE_PORT, port) for line in example.output]
        assert matches(wanted, output), (
            f"{example.command}\nexpected:\n" + "\n".join(wanted) + f"\ngot:\n{output}"
        )


def test_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "tutorial.md", "curl.md"} <= names


def test_the_demo_copies_a_million_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout
