"""A transport that reads as libuv does (``uv__read`` in its src/unix/stream.c)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_READS: Final = 32
"""How often it reads in a row, as long as each read fills what it reads into."""


class Libuv:
    """The transport of one buffered protocol; what is written to it goes nowhere."""

    def __init__(self) -> None:
        self.unread = b""
        self.paused = False

    def poll(self, protocol: asyncio.BufferedProtocol) -> None:
        """One turn of the loop's: reads what there is."""
        for _ in range(_READS):
            if self.paused or not self.unread:
                return
            place = memoryview(protocol.get_buffer(-1))
            size = min(len(place), len(self.unread))
            place[:size] = self.unread[:size]
            self.unread = self.unread[size:]
            full = size == len(place)
            protocol.buffer_updated(size)
            if not full:
                return

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_named: None
