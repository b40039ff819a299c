"""Short words for what the tests do to a store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from support.clock import advance, settle

from batchq.lines import batch_of
from batchq.model import (
    CloseRequest,
    End,
    Nothing,
    Numbering,
    PullAnswer,
    Pulled,
    PullRequest,
    Pushed,
    PushRequest,
    QueueStats,
)
from batchq.stores.base import Store

_T = TypeVar("_T")


def number(seq: int, epoch: int = 0, producer: str = "p") -> Numbering:
    return Numbering(producer, epoch, seq)


class Steps:
    """A store and one queue of it, ``q`` unless said otherwise."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._tasks: list[asyncio.Task[Any]] = []

    async def push(
        self,
        body: bytes,
        numbering: Numbering | None = None,
        *,
        queue: str = "q",
        wait: float = 0.0,
        queue_id: str | None = None,
    ) -> Pushed:
        return await self.store.push(PushRequest(queue, batch_of(body), numbering, queue_id, wait))

    async def pull(self, queue: str = "q", **how: Any) -> PullAnswer:
        return await self.store.pull(PullRequest(queue, **how))

    async def take(self, queue: str = "q", **how: Any) -> Pulled:
        """A pull that must give lines."""
        answer = await self.pull(queue, **how)
        assert isinstance(answer, Pulled), answer
        return answer

    async def data(self, queue: str = "q", **how: Any) -> bytes:
        return (await self.take(queue, **how)).data

    async def nothing(self, queue: str = "q", **how: Any) -> Nothing:
        answer = await self.pull(queue, **how)
        assert isinstance(answer, Nothing), answer
        return answer

    async def end(self, queue: str = "q", **how: Any) -> End:
        answer = await self.pull(queue, **how)
        assert isinstance(answer, End), answer
        return answer

    async def close(self, queue: str = "q", **how: Any) -> End:
        return await self.store.close(CloseRequest(queue, **how))

    async def stats(self, queue: str = "q") -> QueueStats:
        return await self.store.stats(queue, None)

    def begin(self, call: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Starts a call."""
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.append(task)
        return task

    async def finish(self) -> None:
        """Ends the calls that a failed test left behind, and hears their errors."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def waits(self, call: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Starts a call that must not be answered yet."""
        task = self.begin(call)
        await settle()
        assert not task.done(), task
        return task

    async def passes(self, seconds: float) -> None:
        await advance(seconds)

    async def leave(self, *tasks: asyncio.Task[Any]) -> None:
        """The clients of these calls have gone."""
        for task in tasks:
            task.cancel()
        await settle()
        assert all(task.cancelled() for task in tasks)


async def still(*tasks: asyncio.Task[Any]) -> None:
    """These calls are not answered yet."""
    await settle()
    assert not [task for task in tasks if task.done()]
