"""The standard streams: there from the start, and what to do when they take nothing.

A descriptor from 0 to 2 that is closed at the start would become that of some file, socket or
event loop, which libraries and children then take for a standard stream.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Final

_STREAMS: Final = (
    (0, "stdin", "the standard input"),
    (1, "stdout", "the standard output"),
    (2, "stderr", "the standard error"),
)
_NAMES: Final = {fd: text for fd, _, text in _STREAMS}
_BROKEN_PIPE: Final = 141

_missing: Final[set[int]] = set()


class StreamError(Exception):
    """A standard stream that a command needs takes nothing, or is not there.

    Args:
        text: one line for people; empty where there is nothing to say.
        exit_code: of the command.
    """

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def open_missing() -> None:
    """Opens /dev/null in place of each standard stream that is closed, and remembers which."""
    for fd, name, _ in _STREAMS:
        try:
            os.fstat(fd)
        except OSError:
            _missing.add(fd)
            _open_null(fd)
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r", closefd=False))
    if isinstance(sys.stdout, TextIOWrapper):
        # A name that is not in the terminal's encoding is printed as the system has it.
        sys.stdout.reconfigure(errors="surrogateescape")


def need(*fds: int) -> None:
    """Looks whether standard streams were there at the start.

    Raises:
        StreamError: one was not; it is wrong usage.
    """
    for fd in fds:
        if fd in _missing:
            raise StreamError(f"{_NAMES[fd]} is closed, and is needed here", 2)


def say(text: str, *, end: str = "\n") -> None:
    """Prints on the standard output, at once.

    Raises:
        StreamError: it can't be written, or nobody reads it any more.
    """
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except OSError as error:
        raise unwritable(error) from None


def unwritable(error: OSError) -> StreamError:
    """What a command ends with when the standard output could not be written to."""
    _open_null(1)
    if error.errno == errno.EPIPE:
        return StreamError("", _BROKEN_PIPE)
    return StreamError(f"can't write {_NAMES[1]}: {error.strerror or error}", 1)


def tell(text: str) -> None:
    """Prints a line of ``batchq`` on stderr. Where that takes nothing, there is nobody to tell."""
    with suppress(OSError):
        sys.stderr.write(f"batchq: {text}\n")
        sys.stderr.flush()


def flush() -> None:
    """Writes what is left, so that Python's own end has nothing to complain about."""
    try:
        sys.stdout.flush()
    except OSError:
        _open_null(1)


def _open_null(fd: int) -> None:
    """Has a descriptor be /dev/null, also for children."""
    opened = os.open(os.devnull, os.O_WRONLY if fd else os.O_RDONLY)
    if opened == fd:
        os.set_inheritable(fd, True)
    else:
        os.dup2(opened, fd)
        os.close(opened)
