"""When a connection is closed for doing nothing, and when its peer is taken for gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import httpx

if TYPE_CHECKING:
    from .settings import TransportSettings
    from .stream import TransportErrorType

__all__ = ["Keepalive"]

# A PING's time is counted in so many steps, each with a turn of the loop before it: one
# that stood still (a process that was stopped) has not read what came meanwhile, and
# loses one step only.
_STEPS = 4


class _Connection(Protocol):
    @property
    def busy(self) -> bool: ...
    def ping(self) -> None: ...
    def availability_changed(self) -> None: ...
    def close(self) -> None: ...
    def fail(self, error: TransportErrorType, message: str) -> None: ...


class _Sender(Protocol):
    @property
    def written(self) -> int: ...
    @property
    def delivered(self) -> int: ...


class Keepalive:
    """The timers of one connection.

    Silence while streams are open is ended by a PING. When nothing comes for a step of its
    time, or for the whole time of a request, the peer is in doubt: new requests go
    elsewhere until something is heard of it. When nothing comes at all, it is given up.

    Attributes:
        heard_times: Grows whenever something comes.
        doubtful: Whether the peer may be gone.
    """

    def __init__(
        self, settings: TransportSettings, connection: _Connection, sender: _Sender
    ) -> None:
        self._idle_timeout = settings.idle_timeout
        self._ping_interval = settings.ping_interval
        self._step = settings.ping_timeout / _STEPS
        self._connection = connection
        self._sender = sender
        self._loop = asyncio.get_running_loop()
        self.heard_times = 0
        self.doubtful = False
        self._idle_since = self._last_heard = self._loop.time()
        self._steps: int | None = None  # since a PING after which nothing came
        self._before_ping = self._delivered = 0
        self._stopped = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None

    def heard(self) -> None:
        """Something came from the peer."""
        self._last_heard = self._loop.time()
        self.heard_times += 1
        if self._steps is not None:
            self._steps = None
            self._cancel_ping_timer()
            self._check_silence()
        if self.doubtful:
            self.doubtful = False
            self._connection.availability_changed()

    def doubt(self) -> None:
        """Nothing came for as long as a request waited: ask, and count on nothing meanwhile."""
        if self.doubtful or self._stopped:
            return
        self.doubtful = True
        if self._steps is None:
            self._probe()
        self._connection.availability_changed()

    def became_busy(self) -> None:
        """The connection's first stream began; what was silent for long is asked with it."""
        if self._ping_timer is None:
            self._check_silence()

    def became_idle(self) -> None:
        """The connection's last stream ended."""
        self._idle_since = self._loop.time()
        # One timer serves many short idle times: it looks again when it goes off.
        if self._idle_timer is None and self._idle_timeout is not None and not self._stopped:
            self._idle_timer = self._loop.call_later(self._idle_timeout, self._check_idle)

    def stop(self) -> None:
        """Let no timer go off any more."""
        self._stopped = True
        self._cancel_ping_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()

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
        self._ping_timer = None
        if self._steps is not None:
            self._count_step(self._steps + 1)
        elif self._ping_interval is not None and self._connection.busy:
            left = self._last_heard + self._ping_interval - self._loop.time()
            if left > 0:
                self._check_silence_in(left)
            else:
                self._probe()

    def _cancel_ping_timer(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None

    def _check_silence_in(self, seconds: float) -> None:
        self._cancel_ping_timer()
        if not self._stopped:
            self._ping_timer = self._loop.call_later(seconds, self._check_silence)

    def _probe(self) -> None:
        self._steps = 0
        self._before_ping = self._sender.written
        self._delivered = self._sender.delivered
        self._connection.ping()
        self._check_silence_in(self._step)

    def _count_step(self, steps: int) -> None:
        delivered, before = self._sender.delivered, self._delivered
        self._delivered = delivered
        if before < delivered < self._before_ping:
            # The PING waits behind a body on a slow link, which moves: that is a sign of life.
            steps = 0
        elif steps == _STEPS:
            self._connection.fail(httpx.ReadError, "the peer did not answer a PING")
            return
        self._steps = steps
        self._check_silence_in(self._step)
        if steps:
            self.doubt()
