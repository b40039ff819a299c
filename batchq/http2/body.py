"""A request's body on its way from the connection to the application.

The connection feeds it and never waits; the application takes from it. What was taken,
and nothing else, goes back to the client as window: a body that nobody reads holds at
most one stream window, and holds nobody up. A body that is gathered counts among all that
are (``inflight``): the connection gets its window back at once, as others use it too, the
stream when there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from batchq.http2.inflight import Load


class ClientGoneError(Exception):
    """The client left, or reset the stream, before its body was complete."""


class BodyTooLargeError(Exception):
    """The body is above what the caller takes; it may be answered at once."""


class BodySource(Protocol):
    """Where a body comes from: told what may be sent next."""

    def give_back(self, size: int) -> None:
        """``size`` more bytes may be sent on the connection."""

    def open_window(self, size: int) -> None:
        """``size`` more bytes may be sent on the stream."""

    def load(self, rest: int, grow: Callable[[], None]) -> Load:
        """Begin to count the body, which may bring ``rest`` more bytes, among all others."""

    def wanted(self) -> None:
        """The application waits for bytes that are not here."""


class RequestBody:
    """The bytes of one request.

    Args:
        window: bytes that the client may send before any are taken.
        length: the announced size, or -1.
        done: there is no body.
        source: where they come from.
    """

    __slots__ = (
        "_allowed",
        "_fed",
        "_held",
        "_left",
        "_load",
        "_silent_since",
        "_source",
        "_step",
        "_taken",
        "_told",
        "_waiter",
        "done",
        "dropped",
        "dropping",
        "gone",
        "parts",
        "window",
    )

    def __init__(self, window: int, length: int, source: BodySource, *, done: bool) -> None:
        self.window = window
        self.parts: deque[bytes] = deque()
        self.done = done
        self.gone = False
        self.dropping = False
        self.dropped = 0
        self._held = 0  # bytes in ``parts`` that are not given back
        self._left = length  # bytes that are still to come; below 0: not known
        self._step = window // 2
        self._taken = 0
        self._told = False
        self._allowed = -1  # bytes that gather() still takes; -1: nobody gathers
        self._load: Load | None = None  # what it holds, while gather() keeps it
        self._waiter: asyncio.Future[None] | None = None
        self._fed = True  # something came since ``stalled`` was asked last
        self._silent_since = 0.0
        self._source = source

    # --- the connection's side ---------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Take some bytes in; false when there are more than were announced."""
        size = len(data)
        self._fed = True
        if self._left >= 0:
            self._left -= size
            if self._left < 0:
                self.give_back(size)
                return False
        if self.dropping:
            self.dropped += size
            self.give_back(size)
            return True
        self.parts.append(data)
        if self._allowed >= 0:
            self._allowed -= size
            if self._allowed >= 0:
                self._keep(size)
                return True
        self._held += size
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return True

    def stalled(self, now: float, seconds: float) -> bool:
        """Whether the client could have sent more for so long, and has not.

        Asked from time to time: it may be told too late, by the time between two askings.
        """
        waits = self._load is not None and self._load.waits
        if self._fed or self.window <= 0 or waits:
            self._fed = False
            self._silent_since = now
        return not self.done and now - self._silent_since >= seconds

    def finish(self) -> bool:
        """The client has sent its last byte; false when fewer came than were announced."""
        self.done = True
        self._unload()
        self._wake()
        return self._left <= 0

    def abort(self) -> None:
        """The client is gone: what it sent of a body is of no use."""
        self.gone = True
        self.drop()

    def drop(self) -> None:
        """Nobody will take any more: free what is here, and what still comes."""
        self.dropping = True
        self.parts.clear()
        self._unload()
        held, self._held = self._held, 0
        if held:
            self.give_back(held)
        self._wake()

    def give_back(self, size: int) -> None:
        """Let the client send ``size`` more bytes, told in big steps."""
        self._source.give_back(size)
        if self.done or self.gone:
            return
        self._taken += size
        if self._taken >= self._step and (self._load is None or self._load.may_grow()):
            self._grow()

    def _grow(self) -> None:
        if self._load is not None:
            self._load.promise(self._taken)
        self.window += self._taken
        self._source.open_window(self._taken)
        self._taken = 0

    def _keep(self, size: int) -> None:
        # First: it may be this body that is refused, and then gives back what it held.
        load = self._load
        if load is not None:
            load.add(size)
        self.give_back(size)

    def _unload(self) -> None:
        if self._load is not None:
            self._load.close()

    # --- the application's side --------------------------------------------------

    async def receive(self) -> tuple[bytes, bool] | None:
        """Return the next bytes and whether more follow; None once nobody needs them.

        After the last bytes it waits for the client to leave or the answer to be complete.
        """
        while not self.dropping:
            if self.parts:
                data = self.parts.popleft()
                self._held -= len(data)
                self.give_back(len(data))
                self._told = self.done and not self.parts
                return data, not self._told
            if self.done and not self._told:
                self._told = True
                return b"", False
            await self._wait()
        return None

    async def gather(self, limit: int) -> list[bytes]:
        """Return the whole body in its pieces, waking the caller once.

        Args:
            limit: bytes that the body may have at most.

        Raises:
            BodyTooLargeError: it has more; what came is dropped.
            ClientGoneError: it will never be complete.
        """
        here = self._held
        self._allowed = limit - here
        if here + max(self._left, 0) > limit:
            self._allowed = -1
        elif not (self.done or self.dropping):
            rest = self._allowed if self._left < 0 else self._left
            self._load = self._source.load(here + rest, self._grow)
            self._load.promise(here + self.window)
        if here and self._allowed >= 0:
            self._held = 0
            self._keep(here)
        while self._allowed >= 0 and not (self.done or self.dropping):
            await self._wait()
        if self.dropping:
            raise ClientGoneError
        if self._allowed < 0:
            self.drop()
            raise BodyTooLargeError
        self._told = True
        pieces = list(self.parts)
        self.parts.clear()
        return pieces

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("the body is being received already")
        if not self.done:
            self._source.wanted()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
