"""Commands on a terminal of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from types import TracebackType
from typing import Self

from support.copies import COMMAND, SECONDS, environment, obedient

ROWS = 24

_ATTACH = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A command whose controlling terminal is a pty; what it shows is kept.

    Args:
        arguments: of ``batchq``.
        columns: the terminal's width.
    """

    def __init__(self, *arguments: object, columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

        self.process = subprocess.Popen(
            [sys.executable, "-c", _ATTACH, *obedient(*COMMAND, *arguments)],
            env=environment({"TERM": "xterm-256color"}),
            stdin=theirs,
        )
        os.close(theirs)
        self._shown = bytearray()

    @property
    def shown(self) -> str:
        """All that it has shown so far."""
        return self._shown.decode(errors="replace")

    def until(self, there: Callable[[str], object]) -> str:
        """Waits until what was shown is as it should be; gives it."""
        while not there(self.shown):
            assert self._read(), self.shown
        return self.shown

    def hang_up(self) -> None:
        """Closes the terminal, as a window is closed: the system sends SIGHUP."""
        os.close(self._ours)

    def wait(self) -> int:
        """Waits for the command's end; gives its exit code."""
        return self.process.wait(SECONDS)

    def to_end(self) -> tuple[int, str]:
        """Waits for the command's end; gives its exit code, and all that it has shown."""
        while self._read():
            continue
        return self.wait(), self.shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)

    def _read(self) -> bool:
        """Takes what is shown next; False at the end."""
        ready, _, _ = select.select([self._ours], [], [], SECONDS)
        assert ready, f"nothing more is shown: {self.shown}"
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has it open any more
            return False
        self._shown += piece
        return bool(piece)
