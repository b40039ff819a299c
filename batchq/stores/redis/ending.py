"""How work beside the calls ends: soon, whatever redis-py does with a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Final

_log: Final = logging.getLogger("batchq.redis")

_AGAIN_SECONDS: Final = 0.25
_MOST_SECONDS: Final = 2.0


async def undisturbed(task: asyncio.Task[Any]) -> None:
    """Waits for the end of a task, however often the waiting is cancelled meanwhile."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})


async def in_any_case(work: Coroutine[Any, Any, Any]) -> None:
    """Does work to its end, however often the waiting for it is cancelled. Raises as it does."""
    task = asyncio.get_running_loop().create_task(work)
    await undisturbed(task)
    task.result()


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits for their end, for a few seconds at most.

    A connection that is being made may swallow a cancellation, so that it is repeated.
    """
    left = {task for task in tasks if not task.done()}
    give_up = asyncio.get_running_loop().time() + _MOST_SECONDS
    while left and asyncio.get_running_loop().time() < give_up:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    if left:
        _log.warning("%d tasks did not end in %g s", len(left), _MOST_SECONDS)
