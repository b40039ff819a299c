"""Waiting for a store on behalf of a client that may leave meanwhile.

Most calls are answered at once, so that the client is watched only for those that really
wait. To know which do, a coroutine is run up to where it first waits by the caller's own
task, and goes on in it.
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
    return await _both(task, work, waits, _Watch(gone, watched, task))


async def _both(
    task: asyncio.Task[Any], work: Coroutine[Any, Any, _T], waits: Any, watch: _Watch
) -> _T:
    try:
        return await _resumed(work, waits, watch)
    except asyncio.CancelledError:
        # Ours alone: anybody else's cancellation goes on.
        if watch.left and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watch.end()


class _Watch:
    """Goes on with a coroutine whenever what it waits for is there, and cancels a task at its end.

    A task of its own would cost each call that waits two turns of the event loop, and
    hardly any client leaves.

    Args:
        gone: the coroutine, run up to where it waits.
        waits: what it waits for, as it was yielded to the event loop.
        task: what is cancelled when it has returned.

    Attributes:
        left: it has returned.
    """

    def __init__(
        self, gone: Coroutine[Any, Any, None], waits: Any, task: asyncio.Task[Any]
    ) -> None:
        self.left = False
        self._over = False
        self._gone = gone
        self._task = task
        self._follow(waits)

    @property
    def stirs(self) -> bool:
        """What it waits for is there, and it has not been told yet."""
        return not self.left and self._waits.done()

    def end(self) -> None:
        """Watches no longer."""
        self._over = True
        self._waits.remove_done_callback(self._step)
        self._gone.close()

    def _follow(self, waits: Any) -> None:
        if not asyncio.isfuture(waits):
            raise TypeError(f"who watches for a client waits for futures, not for {waits!r}")
        # As a task does: it marks that the future was awaited, not yielded by mistake.
        waits._asyncio_future_blocking = False  # noqa: SLF001
        self._waits = waits
        waits.add_done_callback(self._step)

    def _step(self, waits: asyncio.Future[Any]) -> None:
        # The future itself tells the coroutine of an error or a cancellation.
        del waits
        if self._over:
            return  # it was there, and its turn had not come
        try:
            self._follow(self._gone.send(None))
        except StopIteration:
            self.left = True
            self._task.cancel()


@coroutine
def _resumed(work: Coroutine[Any, Any, _T], waits: Any, watch: _Watch) -> Generator[Any, Any, _T]:
    """Goes on with a coroutine that was run up to where it waits.

    Args:
        work: the coroutine.
        waits: what it waits for, as it was yielded to the event loop.
        watch: is told of its own first, where that is there as well: it may cancel this.
    """
    while True:
        step: Any = work.send
        try:
            argument = yield waits
            if watch.stirs:
                yield
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  a cancellation is the coroutine's to see
            step, argument = work.throw, error
        try:
            waits = step(argument)
        except StopIteration as done:
            result: _T = done.value
            return result
