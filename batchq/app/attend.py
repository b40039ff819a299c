"""Waiting for a store on behalf of a client that may leave meanwhile.

Most calls are answered at once, so that a task to watch for the client is made only
for those that really wait. To know which do, a coroutine is run up to where it first
waits by the caller's own task, and goes on in it, or in a task of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

from batchq.app.call import ClientGone

_T = TypeVar("_T")


async def attended(
    work: Coroutine[Any, Any, _T],
    gone: Coroutine[Any, Any, None],
    waiting: set[asyncio.Task[Any]],
) -> _T:
    """Awaits ``work``, and cancels it when the client goes.

    Args:
        work: what the client waits for.
        gone: returns when the client has gone. It is asked first: a client whose leaving
            has already been told gets nothing started.
        waiting: holds the calling task, if it really waits, until that ends.

    Raises:
        ClientGone: the client went, and ``work`` was cancelled.
    """
    try:
        watched = gone.send(None)
    except StopIteration:
        work.close()
        raise ClientGone from None
    try:
        waits = work.send(None)
    except StopIteration as done:
        gone.close()
        result: _T = done.value
        return result
    except BaseException:
        gone.close()
        raise
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("attended() needs a task")
    waiting.add(task)
    task.add_done_callback(waiting.discard)
    return await _both(task, _resumed(work, waits), _resumed(gone, watched))


async def _both(
    task: asyncio.Task[Any], work: Coroutine[Any, Any, _T], gone: Coroutine[Any, Any, None]
) -> _T:
    left = False

    async def watch() -> None:
        nonlocal left
        await gone
        left = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        # Ours alone: anybody else's cancellation goes on.
        if left and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()


@coroutine
def _resumed(started: Coroutine[Any, Any, _T], waits: Any) -> Generator[Any, Any, _T]:
    """Goes on with a coroutine that was run up to where it waits for ``waits``."""
    while True:
        step: Any = started.send
        try:
            argument = yield waits
        except GeneratorExit:
            started.close()
            raise
        except BaseException as error:  # noqa: BLE001  a cancellation is the coroutine's to see
            step, argument = started.throw, error
        try:
            waits = step(argument)
        except StopIteration as done:
            result: _T = done.value
            return result
