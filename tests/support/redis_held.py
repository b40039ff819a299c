"""A client between a store and a real Redis, that holds commands up as told."""

from __future__ import annotations

import asyncio
from typing import Any

from batchq.stores.redis import RedisStore
from batchq.stores.redis.scripts import Script


class Held:
    """Does what it is asked for; some of it later, so that what is asked after it overtakes it.

    Attributes:
        waits: a command is held up.
    """

    def __init__(self, store: RedisStore) -> None:
        self._client = store._link._client
        store._link._client = self
        self._script: str | None = None
        self._go = asyncio.Event()
        self.waits = asyncio.Event()

    def hold(self, script: Script) -> None:
        """The next run of a script is held up."""
        self._script = script.sha

    def let_go(self) -> None:
        """What is held up goes on."""
        self._go.set()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == "EVALSHA" and args[1] == self._script:
            self._script = None
            self.waits.set()
            await self._go.wait()
        return await self._client.execute_command(*args, **options)

    async def aclose(self) -> None:
        await self._client.aclose()
