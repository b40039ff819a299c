"""When a connection is closed for doing nothing, and when its peer is asked for a sign of life."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import httpx

if TYPE_CHECKING:
    from .settings import TransportSettings
    from .stream import TransportErrorType

__all__ = ["Keepalive"]


class _Connection(Protocol):
    @property
    def busy(self) -> bool: ...
    def ping(self) -> None: ...
    def close(self) -> None: ...
    def fail(self, error: TransportErrorType, message: str) -> None: ...


class Keepalive:
    """The timers of one connection."""

    def __init__(self, settings: TransportSettings, connection: _Connection) -> None:
        self._idle_timeout = settings.idle_timeout
        self._ping_interval = settings.ping_interval
        self._ping_timeout = settings.ping_timeout
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._idle_since = self._last_heard = self._loop.time()
        self._ping_sent: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        if self._ping_interval is not None:
            self._ping_timer = self._loop.call_later(self._ping_interval, self._check_silence)

    def heard(self) -> None:
        """Something came from the peer."""
        self._last_heard = self._loop.time()
        self._ping_sent = None

    def became_idle(self) -> None:
        """The connection's last stream ended."""
        self._idle_since = self._loop.time()
        # One timer serves many short idle times: it looks again when it goes off.
        if self._idle_timer is None and self._idle_timeout is not None:
            self._idle_timer = self._loop.call_later(self._idle_timeout, self._check_idle)

    def stop(self) -> None:
        """Let no timer go off any more."""
        self._idle_timeout = self._ping_interval = None
        for timer in (self._idle_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()

    def _check_idle(self) -> None:
        self._idle_timer = None
        if self._idle_timeout is None or self._connection.busy:
            return
        left = self._idle_since + self._idle_timeout - self._loop.time()
        if left > 0:
            self._idle_timer = self._loop.call_later(left, self._check_idle)
        else:
            self._connection.close()

    def _check_silence(self) -> None:
        if self._ping_interval is None:
            return
        now = self._loop.time()
        if self._ping_sent is not None:
            if now - self._ping_sent >= self._ping_timeout:
                self._connection.fail(httpx.ReadError, "the peer did not answer a PING")
                return
            wait = min(self._ping_sent + self._ping_timeout - now, self._ping_interval)
        elif self._connection.busy and now - self._last_heard >= self._ping_interval:
            self._ping_sent = now
            self._connection.ping()
            wait = min(self._ping_timeout, self._ping_interval)
        else:
            wait = max(self._last_heard + self._ping_interval - now, self._ping_interval / 4)
        self._ping_timer = self._loop.call_later(wait, self._check_silence)
