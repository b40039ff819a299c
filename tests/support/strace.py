"""Commands under strace: which system calls they make, and killed at one of them."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.copies import COMMAND, SECONDS, environment

SAFETY: Final = ("fdatasync", "fsync", "ftruncate", "rename", "unlink", "flock")
"""Calls on which it hangs what is left after a crash."""

TALK: Final = ("write", "writev", "sendto", "sendmsg")
"""Calls that write to files and connections."""

_CALL: Final = re.compile(r"^(\d+) +(\w+)\((.*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Call:
    """A system call.

    Attributes:
        thread: who made it.
        name: which one.
        about: its arguments, with the path of each descriptor.
    """

    thread: str
    name: str
    about: str

    def of(self, path: Path) -> bool:
        """Tells whether it is about a file or folder."""
        return f"<{path}>" in self.about or f'"{path}"' in self.about


@dataclass(frozen=True, slots=True)
class Traced:
    """A command that has ended.

    Attributes:
        code: its exit code, negative for a signal.
        stderr: what it said.
        calls: in the order in which they began.
    """

    code: int
    stderr: bytes
    calls: list[Call]

    @property
    def points(self) -> Iterator[tuple[str, int]]:
        """Every call at which it may be killed, as ``traced`` takes it.

        strace counts the calls of one name in one thread.
        """
        threads = Counter((call.name, call.thread) for call in self.calls)
        most: Counter[str] = Counter()
        for (name, _), count in threads.items():
            most[name] = max(most[name], count)
        for name, count in sorted(most.items()):
            yield from ((name, number) for number in range(1, count + 1))


def traced(log: Path, *arguments: object, kill: tuple[str, int] | None = None) -> Traced:
    """Runs ``batchq`` under strace.

    Args:
        log: a file for strace's notes.
        arguments: of the command.
        kill: a call's name, and at which of them in one thread it is killed.
    """
    hurt = [] if kill is None else ["-e", f"inject={kill[0]}:signal=KILL:when={kill[1]}"]
    done = subprocess.run(
        [
            *("strace", "-f", "-y", "-qq", "-o", str(log)),
            *("-e", f"trace={','.join(SAFETY + TALK)}", *hurt),
            *(*COMMAND, *map(str, arguments)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env=environment(),
    )
    calls = [Call(*match.groups()) for match in _CALL.finditer(log.read_text())]
    return Traced(done.returncode, done.stderr, calls)
