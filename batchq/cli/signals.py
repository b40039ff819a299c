"""Signals that end a command which runs an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from batchq.cli import interrupt

_T = TypeVar("_T")

_ENDINGS: Final = {
    signal.SIGINT: (interrupt.EXIT_CODE, interrupt.TEXT),
    signal.SIGTERM: (143, "terminated"),
    signal.SIGHUP: (129, "ended, as its terminal was closed (SIGHUP)"),
}


class Ended(Exception):
    """A signal came, and what ran was stopped.

    Args:
        text: one line for people, without what ``__notes__`` add.
        exit_code: of the command.
    """

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


async def until_signal(work: Coroutine[Any, Any, _T]) -> _T:
    """Does the work until it is done or a signal ends it; a second signal ends the process.

    SIGHUP that the process was started to ignore (``nohup``) stays ignored.

    Raises:
        Ended: a signal came; the work was cancelled, and has undone what it could.
    """
    loop = asyncio.get_running_loop()
    working = asyncio.ensure_future(work)
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        if received:
            os._exit(_ENDINGS[number][0])
        received.append(number)
        working.cancel()

    for number in _ENDINGS:
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        loop.add_signal_handler(number, end, number)
    try:
        return await working
    except asyncio.CancelledError as error:
        if not received:
            raise
        code, text = _ENDINGS[received[0]]
        ended = Ended(text, code)
        for note in getattr(error, "__notes__", ()):
            ended.add_note(note)
        raise ended from None


def text_of(error: BaseException) -> str:
    """An error and its notes in one line."""
    return "; ".join([str(error), *getattr(error, "__notes__", ())])
