"""Commands and answers that are late by chance, so that they overtake each other."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from support.redis_lossy import Lossy
from support.servers import serving
from support.shared import accounted

from batchq.stores.redis import RedisStore

LATEST: Final = 0.02
"""Seconds."""


class Late(Lossy):
    """Does what it is asked for; half of all commands and answers take longer."""

    def __init__(self, store: RedisStore, chance: random.Random) -> None:
        super().__init__(store)
        self._chance = chance

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        await self._pause()
        answer = await super().execute_command(*args, **options)
        await self._pause()
        return answer

    async def _pause(self) -> None:
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.uniform(0, LATEST))


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_late_nothing_is_lost_or_twice(prefixed: str, seed: int) -> None:
    """A writer of several batches at a time, and readers that forget, on two servers."""
    async with AsyncExitStack() as stack:
        urls, sent = list[str](), list[Late]()
        for number in range(2):
            store = RedisStore(prefixed)
            served = await stack.enter_async_context(serving(store=store))
            urls.append(served.url)
            sent.append(Late(store, random.Random(f"{seed} {number}")))

        async def calm(_: int) -> None:
            pass

        await accounted(urls, "q", seed, calm)
        assert all(late.sent for late in sent)
