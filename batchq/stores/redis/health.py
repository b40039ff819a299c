"""Which part of Redis is away: all of it, or nodes of a cluster.

While one is away nobody asks it but one probe, with growing pauses: calls are told at once
what the last one was told, instead of waiting in line for an answer that does not come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from batchq.stores.redis.ending import end
from batchq.stores.redis.errors import AWAY, Meaning, meaning, unavailable

_log: Final = logging.getLogger("batchq.redis")

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Away:
    """A node that is away.

    Attributes:
        why: what callers are told.
        key: one that was on it.
    """

    why: str
    key: str


class Health:
    """What is away, and a probe that notices when it is back.

    Args:
        probe: asks the node that a key is on whether it takes writes; raises where it doesn't.
        on_back: told that something is back.

    Attributes:
        recoveries: how often something came back.
    """

    def __init__(
        self, probe: Callable[[str], Awaitable[object]], on_back: Callable[[], None]
    ) -> None:
        self._probe = probe
        self._on_back = on_back
        self._away: dict[str, _Away] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.recoveries = 0

    @property
    def down(self) -> str | None:
        """Why something can't be reached, or None."""
        return next((away.why for away in self._away.values()), None)

    def why(self, node: str) -> str | None:
        """Why a node can't be reached, or None where nothing is known against it."""
        away = self._away.get(node)
        return away.why if away is not None else None

    def note_down(self, node: str, key: str, error: Exception) -> None:
        """Is told that a node can't be reached."""
        if self._stopped:
            return
        away = _Away(str(unavailable(error)), key)
        if not self._away:
            _log.warning("Redis is away: %s", away.why)
        self._away[node] = away
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._ask())

    def note_up(self, node: str) -> None:
        """Is told that a node has answered."""
        if self._away.pop(node, None) is None:
            return
        self.recoveries += 1
        if not self._away:
            _log.warning("Redis is back")
        self._on_back()

    async def _ask(self) -> None:
        """Asks those that are away, until none is."""
        pause = _FIRST_PAUSE
        while self._away:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            for node, away in list(self._away.items()):
                if await self._is_back(away.key):
                    self.note_up(node)
        self._task = None

    async def _is_back(self, key: str) -> bool:
        try:
            await self._probe(key)
        except AWAY as error:
            # One that refuses is there, and each call is told why.
            return meaning(error) in {Meaning.REFUSED, Meaning.MOVING}
        except Exception as error:  # noqa: BLE001  without the probe it would be away for ever
            _log.error("unexpected", exc_info=error)
            return False
        return True

    async def stop(self) -> None:
        """Ends."""
        self._stopped = True
        if self._task is not None:
            await end({self._task})
