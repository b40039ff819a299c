"""Calls that are cancelled at a chosen moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def interrupted(call: Coroutine[Any, Any, _T], turn: int = 1) -> _T:
    """Runs a call that is cancelled as what it waits for is there, the ``turn``-th time.

    That is the last moment: it has been answered, and hears that it is cancelled first.
    """
    turns = iter(range(1, turn + 1))
    return await cancelled_when(call, lambda: next(turns, None) == turn)


async def cancelled_when(call: Coroutine[Any, Any, _T], cancel: Callable[[], bool]) -> _T:
    """Runs a call; each time that what it waits for is there, it is asked whether to cancel."""
    return await _run(call, cancel)


@coroutine
def _run(call: Coroutine[Any, Any, _T], cancel: Callable[[], bool]) -> Generator[Any, Any, _T]:
    step: Any = call.send
    argument: Any = None
    while True:
        try:
            waits = step(argument)
        except StopIteration as done:
            result: _T = done.value
            return result
        step, argument = call.send, None
        try:
            yield waits
        except BaseException as error:  # noqa: BLE001  all is the call's to see
            step, argument = call.throw, error
        else:
            if cancel():
                step, argument = call.throw, asyncio.CancelledError()
