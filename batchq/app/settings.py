"""What a server allows and assumes where a request does not say."""

from __future__ import annotations

from dataclasses import dataclass

from batchq.model import MIB


@dataclass(frozen=True, slots=True)
class Settings:
    """The HTTP side's limits and defaults.

    Attributes:
        long_polling_timeout: seconds that a pull waits when it does not say; at most ``max_wait``.
        max_wait: the longest wait in seconds; longer ones are cut to it.
        max_body: bytes of the largest body, in and out.
    """

    long_polling_timeout: float = 5.0
    max_wait: float = 60.0
    max_body: int = 64 * MIB

    @property
    def default_wait(self) -> float:
        """Seconds that a pull waits when it does not say."""
        return min(self.long_polling_timeout, self.max_wait)
