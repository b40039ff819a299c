"""Bodies over HTTP/1.1, counted among all that are not complete.

There a body is held up by not being read: its connection carries nothing else. An
application that keeps a body awaits ``scope["extensions"]["batchq.intake"]`` for each piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from batchq.http2.inflight import InFlight, Load

INTAKE_EXTENSION = "batchq.intake"


class Intake:
    """The body of one request.

    Args:
        inflight: what it counts among.
        receive: the ASGI channel that it comes through.
    """

    __slots__ = ("_ended", "_inflight", "_load", "_receive", "_room")

    def __init__(self, inflight: InFlight, receive: Callable[[], Awaitable[Any]]) -> None:
        self._inflight = inflight
        self._receive = receive
        self._load: Load | None = None
        self._room: asyncio.Future[None] | None = None
        self._ended = False

    async def receive(self) -> Any:
        """Return the next ASGI message; the last one of the body ends the count."""
        message = await self._receive()
        if not message.get("more_body", False):
            self.end()
        return message

    async def keep(self, size: int, rest: int) -> None:
        """Count a piece that is kept, and wait until there is room for another.

        Args:
            size: bytes of it.
            rest: bytes that may follow.
        """
        if self._ended:
            return
        if self._load is None:
            pool = self._inflight.pool()
            self._load = self._inflight.open(pool, size + rest, self._grow)
        self._load.add(size)
        room = self._room = asyncio.get_running_loop().create_future()
        if not self._load.may_grow():
            await room

    def _grow(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def end(self) -> None:
        """The body is complete, or of no use."""
        self._ended = True
        if self._load is not None:
            self._load.close()


class CountedApp:
    """An application whose HTTP/1.1 bodies count.

    Args:
        inner: Hypercorn's wrapper of it.
        inflight: what they count among.
    """

    __slots__ = ("inflight", "inner")

    def __init__(self, inner: Any, inflight: InFlight) -> None:
        self.inner = inner
        self.inflight = inflight

    async def __call__(
        self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any
    ) -> None:
        """Run it on one scope; the arguments are Hypercorn's."""
        if scope["type"] != "http":
            await self.inner(scope, receive, send, sync_spawn, call_soon)
            return
        intake = Intake(self.inflight, receive)
        scope["extensions"][INTAKE_EXTENSION] = intake.keep
        try:
            await self.inner(scope, intake.receive, send, sync_spawn, call_soon)
        finally:
            intake.end()
