"""The names of keys and channels.

All keys of a queue carry its name as hash tag, so that a cluster keeps them together
and a script may use them all. What the scripts derive from the base key is told in
``lua/prelude.lua``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_PREFIX: Final = "batchq"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one installation.

    Attributes:
        prefix: what all its keys begin with; installations with different ones don't meet.
    """

    prefix: str = DEFAULT_PREFIX

    def queue(self, name: str) -> str:
        """The base key of a queue, which is also its channel."""
        return f"{self.prefix}:{{{name}}}"

    def name(self, channel: str) -> str:
        """The queue that a channel belongs to."""
        return channel[len(self.prefix) + 2 : -1]

    @property
    def names(self) -> str:
        """A hash: the names of all queues."""
        return f"{self.prefix}:names"

    @property
    def records(self) -> str:
        """A sorted set: the lives that are over and of which a record is kept."""
        return f"{self.prefix}:records"
