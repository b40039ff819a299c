"""A client between a store and a real Redis, that holds commands up as told."""

from __future__ import annotations

import asyncio
from typing import Any

from support.redis_lossy import Lossy

from batchq.stores.redis import RedisStore
from batchq.stores.redis.scripts import Script


class Held(Lossy):
    """Does what it is asked for; some of it later, so that what is asked after it overtakes it.

    Attributes:
        waits: a command is held up, or its answer.
    """

    def __init__(self, store: RedisStore) -> None:
        super().__init__(store)
        self._held: str | None = None
        self._answer = False
        self._go = asyncio.Event()
        self.waits = asyncio.Event()

    def hold(self, script: Script, *, answer: bool = False) -> None:
        """The next run of a script is held up; or its answer is."""
        self._held, self._answer = script.sha, answer
        self._go, self.waits = asyncio.Event(), asyncio.Event()

    def let_go(self) -> None:
        """What is held up goes on."""
        self._go.set()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] != "EVALSHA" or args[1] != self._held:
            return await super().execute_command(*args, **options)
        self._held, go = None, self._go
        if self._answer:
            answer = await super().execute_command(*args, **options)
        self.waits.set()
        await go.wait()
        return answer if self._answer else await super().execute_command(*args, **options)
