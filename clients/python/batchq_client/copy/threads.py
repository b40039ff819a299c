"""Blocking calls on a thread that can be left behind.

The executors of asyncio and concurrent.futures join their threads at exit: a read of a
terminal or a pipe that nobody writes to would keep an interrupted command alive. These
threads are daemons, so that the process can end while one is blocked.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class BlockingThread:
    """Runs calls one after the other, in the order they were asked for.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        """Asks for a call; the future gives its result.

        The call is made also where the future is cancelled before it begins: what was
        written before and is written after goes together.
        """
        future: asyncio.Future[_T] = self._loop.create_future()
        # Whoever asked may have left meanwhile: then nobody wants to know of a failure.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._jobs.put((call, future))
        return future

    def stop(self, *fds: int) -> None:
        """Lets the thread end after what was asked for; does not wait.

        Args:
            fds: descriptors that it works with. It closes them itself at the end: closed
                under its hands, their numbers could be another file's by then.
        """
        for fd in fds:
            self.submit(partial(os.close, fd))
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future = job
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  it is raised where it is awaited
                self._tell(_fail, future, error)
            else:
                self._tell(_finish, future, result)
            del job, future

    def _tell(self, tell: Callable[..., None], future: asyncio.Future[Any], value: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(tell, future, value)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _finish(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
