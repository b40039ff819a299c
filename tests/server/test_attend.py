"""Waiting on behalf of a client: what the server was told before an answer goes before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchq.app.attend import attended
from batchq.app.call import ClientGone


class _Parts:
    """What is waited for, and what tells that the client has gone."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[str] = loop.create_future()
        self.news: list[asyncio.Future[None]] = [loop.create_future()]
        self.cancelled = False
        self.waiting: set[asyncio.Task[Any]] = set()

    async def work(self) -> str:
        try:
            return await self.ready
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def gone(self) -> None:
        for news in self.news:
            await news

    async def begin(self) -> asyncio.Task[str]:
        task = asyncio.create_task(attended(self.work(), self.gone(), self.waiting))
        await asyncio.sleep(0)
        # It watches for the client from its second turn on.
        await asyncio.sleep(0)
        return task


@pytest.mark.parametrize("first", ["news", "answer"])
async def test_a_client_that_left_as_the_answer_came_has_left(first: str) -> None:
    parts = _Parts()
    task = await parts.begin()
    if first == "news":
        parts.news[0].set_result(None)
        parts.ready.set_result("answer")
    else:
        parts.ready.set_result("answer")
        parts.news[0].set_result(None)
    with pytest.raises(ClientGone):
        await task
    assert parts.cancelled
    assert task.cancelling() == 0


async def test_other_news_of_the_client_changes_nothing() -> None:
    parts = _Parts()
    parts.news.append(asyncio.get_running_loop().create_future())
    task = await parts.begin()
    parts.ready.set_result("answer")
    parts.news[0].set_result(None)
    assert await task == "answer"
    assert not parts.cancelled


async def test_a_cancellation_from_elsewhere_goes_on() -> None:
    parts = _Parts()
    task = await parts.begin()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert parts.cancelled


@pytest.mark.parametrize("news", [True, False])
async def test_what_comes_once_it_is_over_is_let_be(news: bool) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    parts = _Parts()
    task = await parts.begin()
    task.cancel()
    if news:
        parts.news[0].set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await task
    if not news:
        parts.news[0].set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert faults == []
    assert parts.cancelled
