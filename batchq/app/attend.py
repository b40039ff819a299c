"""Waiting for a store on behalf of a client that may leave meanwhile.

Most calls are answered at once, so that a task to watch for the client is made only
for those that really wait. To know which do, a coroutine is run up to where it first
waits by the caller's own task, and goes on in it, or in a task of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, Generic, TypeVar

from batchq.app.call import ClientGone

_T = TypeVar("_T")


async def attended(
    work: Coroutine[Any, Any, _T],
    gone: Coroutine[Any, Any, None],
    waiting: set[asyncio.Task[Any]],
) -> _T:
    """Awaits ``work``, and cancels it when the client goes.

    What tells that the client has gone goes before what ``work`` waits for where both are
    there: the server has been told, and has not answered.

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
    return await _both(task, _Started(work, waits), _Started(gone, watched))


async def _both(task: asyncio.Task[Any], work: _Started[_T], gone: _Started[None]) -> _T:
    left = False

    async def watch() -> None:
        nonlocal left
        await gone.resumed()
        left = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        return await work.resumed(after=gone)
    except asyncio.CancelledError:
        # Ours alone: anybody else's cancellation goes on.
        if left and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()


class _Started(Generic[_T]):
    """A coroutine that was run up to where it waits.

    Args:
        started: the coroutine.
        waits: what it waits for, as it was yielded to the event loop.
    """

    def __init__(self, started: Coroutine[Any, Any, _T], waits: Any) -> None:
        self._started = started
        self._waits = waits

    @property
    def stirs(self) -> bool:
        """What it waits for is there, and it has not been told yet."""
        return isinstance(self._waits, asyncio.Future) and self._waits.done()

    @coroutine
    def resumed(self, after: _Started[Any] | None = None) -> Generator[Any, Any, _T]:
        """Goes on with it.

        Args:
            after: what is to be told of its own first, where that is there as well: it may
                cancel this.
        """
        while True:
            step: Any = self._started.send
            try:
                argument = yield self._waits
                if after is not None and after.stirs:
                    yield
            except GeneratorExit:
                self._started.close()
                raise
            except BaseException as error:  # noqa: BLE001  a cancellation is the coroutine's to see
                step, argument = self._started.throw, error
            try:
                self._waits = step(argument)
            except StopIteration as done:
                result: _T = done.value
                return result
