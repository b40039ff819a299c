"""How much of all queues' lines stays in memory, where a store keeps them elsewhere too.

Lines are let go from the newest on, of the queue that was read the longest ago: a
reader needs the oldest first, and a queue that nobody reads can't starve the others.
"""

from __future__ import annotations

from typing import Protocol


class Evictable(Protocol):
    """A queue's lines, as far as the cache knows them."""

    def evict(self) -> int:
        """Lets go of the newest piece in memory; gives its bytes, 0 where there is none."""


class Cache:
    """A budget for bytes in memory.

    Args:
        budget: payload bytes that may stay in memory.

    Attributes:
        used: payload bytes that are in memory.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self.used = 0
        self._by_use: dict[Evictable, None] = {}

    def touch(self, user: Evictable) -> None:
        """Remembers that a queue was read just now."""
        self._by_use.pop(user, None)
        self._by_use[user] = None

    def forget(self, user: Evictable, held: int) -> None:
        """Is told that a queue is over, with all it held."""
        self._by_use.pop(user, None)
        self.used -= held

    def admit(self, user: Evictable, size: int) -> bool:
        """Tells whether new lines may stay in memory; makes room at others' cost.

        Args:
            user: the queue.
            size: the lines' bytes; the queue counts them in ``used`` when they stay.
        """
        self._by_use.setdefault(user, None)
        while self.used + size > self._budget:
            victim = next(iter(self._by_use))
            if victim is user:
                return False
            if victim.evict() == 0:
                del self._by_use[victim]
        return True

    def make_room(self, user: Evictable, size: int) -> None:
        """Makes room for lines that a reader asks for: at others' cost, then at its own."""
        self.touch(user)
        while self.used + size > self._budget and self._by_use:
            victim = next(iter(self._by_use))
            if victim.evict() == 0:
                if victim is user:
                    return
                del self._by_use[victim]
