"""Ctrl-C, wherever a command is: while it starts, while it runs, while Python ends.

A ``KeyboardInterrupt`` in the midst of an import can be lost in foreign code, or be printed
with all that was being imported. So an import that takes time is ended at once instead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

EXIT_CODE: Final = 130
TEXT: Final = "interrupted"


@contextmanager
def ending_at_once() -> Iterator[None]:
    """For the length of the block Ctrl-C ends the process in one line: nothing is to be undone.

    A process that was started to ignore Ctrl-C, or has another idea of it, keeps to that.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave_to_system() -> None:
    """The command is done: Ctrl-C may cut Python's own end short, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  as signal has it
    with suppress(OSError):
        os.write(2, f"batchq: {TEXT}\n".encode())
    os._exit(EXIT_CODE)
