"""Waiting pulls, thousands of them, and the waking of one: run inside a driver."""

from __future__ import annotations

import asyncio
import time

from benchmarks.h2 import Answer, Connection, connect

LINE = b"wake up, twenty bytes\n"
WAIT_SECONDS = 60
OPEN_AT_ONCE = 500


class Holder:
    """Holds pulls open on queues that do not exist, each on a queue of its own."""

    def __init__(self, port: int) -> None:
        """Remember the server's port."""
        self._port = port
        self._pulls: dict[str, asyncio.Future[Answer]] = {}
        self._connections: list[Connection] = []
        self._pusher: Connection | None = None
        self._used = 0

    async def hold(self, count: int) -> int:
        """Open pulls and return how many are open once the server has taken them all."""
        while len(self._pulls) < count:
            room = count - len(self._pulls)
            connection = await connect(self._port)
            self._connections.append(connection)
            for _ in range(min(room, connection.capacity - 1)):
                queue = f"wait-{len(self._pulls)}"
                path = f"/pull/{queue}?wait={WAIT_SECONDS}"
                self._pulls[queue] = connection.request("GET", path)
            if len(self._connections) % (OPEN_AT_ONCE // connection.capacity or 1) == 0:
                await self._settle()
        await self._settle()
        return sum(not pull.done() for pull in self._pulls.values())

    async def _settle(self) -> None:
        """Wait until each connection answered something sent after its pulls."""
        asked = [connection.request("GET", "/healthz") for connection in self._connections]
        await asyncio.gather(*asked)

    async def wake(self, times: int) -> dict[str, list[float]]:
        """Wake pulls one at a time.

        Args:
            times: How many.

        Returns:
            Seconds from a push to the waiting pull's whole answer as `wake`, and the round
            trip of a push that wakes nobody, done in turn with the others, as `push`.

        Raises:
            RuntimeError: A push was refused, or a pull got something else.
        """
        if self._pusher is None:
            self._pusher = await connect(self._port)
        seconds: dict[str, list[float]] = {"push": [], "wake": []}
        for _ in range(times):
            queue = f"wait-{self._used}"
            self._used += 1
            started = time.perf_counter()
            pushed = await self._pusher.request("POST", "/push/nobody-waits", LINE)
            seconds["push"].append(pushed.at - started)
            started = time.perf_counter()
            pushing = self._pusher.request("POST", f"/push/{queue}", LINE)
            async with asyncio.timeout(10):
                woken = await self._pulls[queue]
            seconds["wake"].append(woken.at - started)
            pushed = await pushing
            if pushed.status != 200 or woken.body != LINE:
                raise RuntimeError(f"{queue}: push {pushed.status}, pull {woken}")
        return seconds

    async def drop(self) -> None:
        """Close all connections, with the pulls on them."""
        for connection in [*self._connections, *([self._pusher] if self._pusher else [])]:
            connection.close()
        self._connections.clear()
        self._pulls.clear()
        self._pusher, self._used = None, 0
