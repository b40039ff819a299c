"""Time that moves only when a test moves it.

``VirtualTimeLoop`` is an asyncio loop whose ``time()`` stands still: timers fire
when ``advance`` passes their moment, in the order of their moments, and nothing
sleeps. Sockets, pipes and threads work as on any loop, in real time.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, TypeVarTuple

_Ts = TypeVarTuple("_Ts")

STUCK_SECONDS: Final = 20.0
"""Real seconds for which a loop may wait for the outside before the test is called stuck."""

EPOCH: Final = 1024.0
"""Where virtual time starts: not at 0, so that a deadline of 0 is never "unset"."""


class VirtualTimeStandsStill(RuntimeError):
    """The test waits for a timer, but nobody moves the clock."""


class _PatientSelector(selectors.DefaultSelector):
    """Waits for the outside, never for a timer."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        events = super().select(STUCK_SECONDS)
        if not events:
            raise VirtualTimeStandsStill("nothing to do until the clock is moved with advance()")
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; see the module."""

    def __init__(self) -> None:
        self._virtual_now = EPOCH
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0
        super().__init__(_PatientSelector())

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_now

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, and remembers the moment for ``advance``."""
        handle = super().call_at(when, callback, *args, context=context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def next_timer(self) -> float | None:
        """The moment of the next timer that is not over or cancelled, or None."""
        while self._timers:
            when, _, handle = self._timers[0]
            if when > self._virtual_now and not handle.cancelled():
                return when
            heapq.heappop(self._timers)
        return None

    def set_time(self, now: float) -> None:
        """Moves the clock, without running anything."""
        self._virtual_now = max(self._virtual_now, now)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is about to run."""
        ready: Any = getattr(self, "_ready")  # noqa: B009  # asyncio has no public word for it
        return not ready


def _loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "this needs a VirtualTimeLoop"
    return loop


async def settle() -> None:
    """Returns when everything that can run without time passing has run."""
    loop = _loop()
    quiet = 0
    while quiet < 2:
        await asyncio.sleep(0)
        quiet = quiet + 1 if loop.is_idle else 0


async def advance(seconds: float) -> None:
    """Lets virtual time pass; each timer on the way fires at its own moment."""
    loop = _loop()
    target = loop.time() + seconds
    await settle()
    while (moment := loop.next_timer()) is not None and moment <= target:
        loop.set_time(moment)
        await settle()
    loop.set_time(target)
    await settle()
