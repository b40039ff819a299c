"""Scripts sent to Redis, and what happens when no answer comes.

A call whose answer was lost is sent again with the same number (``op``), and the script
gives the answer that it gave before. A copy that was held up on its way can't do harm:
each carries a time, in Redis's clock, after which Redis does nothing with it (``till``),
and numbers are remembered for longer than that.

Nobody waits longer than the timeout for one of the connections, and as long again for an
answer; of what is known to be away (``health``) nothing is asked at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it has no types of its own
from redis import exceptions

from batchq.errors import ShuttingDown, StoreUnavailable
from batchq.stores.redis.connect import (
    Client,
    close_client,
    is_cluster,
    is_single,
    look_around,
    owner,
)
from batchq.stores.redis.ending import end
from batchq.stores.redis.errors import AWAY, Meaning, NotSent, meaning, unavailable
from batchq.stores.redis.health import Health
from batchq.stores.redis.scripts import ALL, PROBE, Script

_log: Final = logging.getLogger("batchq.redis")

VALID_SECONDS: Final = 60
"""Seconds after which a call that is still on its way has no effect any more."""

KEEP_SECONDS: Final = 150
"""Seconds for which Redis remembers the answer to a numbered call; above twice ``VALID_SECONDS``,
so that clocks which differ a little do no harm."""

PATIENCE: Final = 1.5
"""Seconds for which a call is tried again before its caller is told that Redis is away."""

_CLOSE_SECONDS: Final = 2.0
"""Seconds to say goodbye on all connections."""

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Reply:
    """A script's answer.

    Attributes:
        header: what it says.
        pieces: lines.
        doubtful: copies of the call may still be on their way.
    """

    header: dict[str, Any]
    pieces: list[bytes]
    doubtful: bool


class Link:
    """The way to Redis.

    Args:
        client: a client that repeats nothing by itself.
        connections: calls that are on their way at once.
        timeout: seconds to wait for one of the connections.
        clock: seconds, instead of Redis's clock (for tests), or None.
        on_back: is told that something that was away is back.

    Attributes:
        busy: calls that are on their way or being tried again.
        closed: nothing is tried any more.
        draining: nothing is tried twice any more: the server is about to end.
        health: what is away.
    """

    def __init__(
        self,
        client: Client,
        connections: int,
        timeout: float,
        clock: Callable[[], float] | None,
        on_back: Callable[[], None],
    ) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(connections)
        self._timeout = timeout
        self._clock = clock
        self._seen: tuple[float, int] | None = None
        self.busy = 0
        self.closed = False
        self.draining = False
        self._left: set[asyncio.Task[Any]] = set()
        self.health = Health(self._probe, on_back)

    async def run(
        self, script: Script, key: str, args: dict[str, Any], data: bytes | None = None
    ) -> Reply:
        """Runs a script on a queue.

        Args:
            script: which.
            key: the queue's base key.
            args: what it gets as ``A``; ``op`` numbers the call.
            data: lines.

        Raises:
            StoreUnavailable: Redis is away, or refused; where the call is numbered it may be
                tried again, otherwise it has no lasting effect.
            ShuttingDown: this server is about to end.
        """
        doubtful = False
        while True:
            packed = msgpack.packb(args | self._times(), use_bin_type=False)
            more = (packed,) if data is None else (packed, data)
            answer, again = await self.command(script, key, *more)
            doubtful = doubtful or again
            header = msgpack.unpackb(answer[0], strict_map_key=False)
            if header["r"] == "late":
                self._note_time(header["now"])
                continue
            if self._clock is None:
                self._note_time(header["s"]["now"])
            return Reply(header, answer[1:], doubtful)

    async def command(self, script: Script, key: str, *args: Any) -> tuple[Any, bool]:
        """Runs a script with plain arguments, that does no harm when it is run twice.

        Returns:
            Its answer, and whether copies of the call may still be on their way.
        """
        self.busy += 1
        try:
            return await self._insist(key, lambda: self._evaluate(script, key, *args))
        finally:
            self.busy -= 1

    async def plain(self, *command: Any, key: str = "") -> Any:
        """Sends a command of Redis's that may be sent twice.

        Args:
            command: the command.
            key: the key that it is about, where it is about one.
        """
        self.busy += 1
        try:
            answer, _ = await self._insist(key, lambda: self._send(*command))
        finally:
            self.busy -= 1
        return answer

    async def _insist(self, key: str, attempt: Callable[[], Any]) -> tuple[Any, bool]:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        pause, doubtful, sent = _FIRST_PAUSE, False, False
        moving: Exception | None = None
        while True:
            node = self._owner(key, sent=sent)
            try:
                answer = await attempt()
            except NotSent as error:
                raise StoreUnavailable(error.detail) if sent else error from error
            except AWAY as error:
                sent = True
                what = meaning(error)
                if what is Meaning.REFUSED:
                    raise unavailable(error) from error
                doubtful = doubtful or what is Meaning.UNKNOWN
                if what is Meaning.MOVING:
                    moving = error
                if self.draining or loop.time() + pause > give_up:
                    # A node that has said so is there, though the connection may since be closed:
                    # redis-py does that when it looks around anew.
                    if moving is None:
                        self.health.note_down(node, key, error)
                    raise unavailable(moving or error) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.health.note_up(node)
                return answer, doubtful

    def _owner(self, key: str, *, sent: bool) -> str:
        """Tells on which node a key is, unless nothing may be asked there.

        Args:
            key: the key.
            sent: the call may have had an effect by now.
        """
        if self.closed:
            raise ShuttingDown("the server is shutting down; try again")
        node = owner(self._client, key)
        why = self.health.why(node)
        if why is not None:
            raise StoreUnavailable(why) if sent else NotSent(why)
        return node

    async def _evaluate(self, script: Script, key: str, *args: Any) -> Any:
        try:
            return await self._send("EVALSHA", script.sha, 1, key, *args)
        except exceptions.NoScriptError:
            # Redis forgets scripts when it starts; this way it remembers them.
            return await self._send("EVAL", script.text, 1, key, *args)

    async def _send(self, *command: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise NotSent(
                f"no connection to Redis was free in {self._timeout:g} s; try again, or raise "
                "?connections= in the store's URL"
            ) from None
        try:
            return await self._execute(*command)
        finally:
            self._slots.release()

    async def _execute(self, *command: Any) -> Any:
        try:
            if is_single(self._client):
                return await self._client.execute_command(*command)
            return await self._within(self._client.execute_command(*command))
        except AttributeError as error:
            if not is_cluster(self._client):
                raise
            # It was sent on (ASK) to a node that it does not know.
            await look_around(self._client)
            raise exceptions.TryAgainError(f"redis-py does not know the node: {error}") from error

    async def _within(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Waits no longer for an answer than for one connection and one answer.

        To find a primary all sentinels, or nodes, are asked one by one, a timeout each. What
        takes longer is left to itself, as is what nobody waits for any more: breaking it off
        would leave connections in any state.
        """
        task = asyncio.get_running_loop().create_task(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=2 * self._timeout)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if done:
            return task.result()
        self._leave(task)
        raise TimeoutError(f"no answer in {2 * self._timeout:g} s")

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._left.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has been told

    async def _probe(self, key: str) -> None:
        """Asks the node that a key is on whether it takes writes. Raises as redis-py does."""
        await look_around(self._client)
        await self._execute("EVAL", PROBE.text, 1, key)

    # Redis's clock

    def _times(self) -> dict[str, int]:
        keep = KEEP_SECONDS * 1000
        if self._clock is not None:
            now = int(self._clock() * 1_000_000)
            return {"now": now, "keep": keep}
        if self._seen is None:
            return {"keep": keep}
        at, then = self._seen
        now = then + int((asyncio.get_running_loop().time() - at) * 1_000_000)
        return {"keep": keep, "till": now + VALID_SECONDS * 1_000_000}

    def _note_time(self, now: int) -> None:
        self._seen = (asyncio.get_running_loop().time(), now)

    async def open(self) -> None:
        """Makes sure that Redis is there, and learns its time.

        Raises:
            StoreUnavailable: it isn't.
        """
        seconds, micros = await self.plain("TIME")
        if self._clock is None:
            self._note_time(int(seconds) * 1_000_000 + int(micros))
        for script in ALL:
            await self.plain("SCRIPT LOAD", script.text)

    async def close(self) -> None:
        """Closes all connections."""
        self.closed = True
        await self.health.stop()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _CLOSE_SECONDS
        await self._close_client()
        # A call that was just connecting goes on to do so: nobody else would close that.
        while self.busy and loop.time() < give_up:
            await asyncio.sleep(_FIRST_PAUSE)
            await self._close_client()

    async def _close_client(self) -> None:
        await end(self._left)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await close_client(self._client)
        except AWAY as error:
            _log.debug("closing: %s", error)


__all__ = ["KEEP_SECONDS", "Link", "Reply", "StoreUnavailable"]
