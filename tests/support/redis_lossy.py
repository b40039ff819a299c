"""A client between a store and a real Redis, whose answers get lost as told."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError as Lost

from batchq.stores.redis import RedisStore
from batchq.stores.redis.scripts import Script


class Lossy:
    """Does what it is asked for; some answers it does not give.

    Attributes:
        sent: all scripts that were run, as they were sent.
        lost: how many answers were not given.
    """

    def __init__(self, store: RedisStore) -> None:
        self._client = store._link._client
        store._link._client = self
        self._script: str | None = None
        self._times = 0
        self.sent: list[tuple[Any, ...]] = []
        self.lost = 0

    def lose(self, script: Script, times: int = 1) -> None:
        """The next answers to a script are not given."""
        self._script, self._times = script.sha, times

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        answer = await self._client.execute_command(*args, **options)
        if args[0] == "EVALSHA":
            self.sent.append(args)
            if args[1] == self._script and self._times:
                self._times -= 1
                self.lost += 1
                raise Lost("the answer was lost")
        return answer

    async def again(self, script: Script, *, first: bool = True) -> Any:
        """A copy of a command that was held up on its way comes in now."""
        copies = [args for args in self.sent if args[1] == script.sha]
        return await self._client.execute_command(*copies[0 if first else -1])

    async def aclose(self) -> None:
        await self._client.aclose()
