"""The reserve: room that pushes leave on the disk, so that pulls and acks can go on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_LOOK_EVERY: Final = 0.05
"""Seconds for which a look at a disk with room holds: the reserve has to outlast them at full
speed."""


class Reserve:
    """Tells whether there is room for pushes.

    Args:
        path: the file.
        min_free: bytes that have to be free.

    Attributes:
        reusable: bytes in the file that hold nothing; set by who writes it.
        stuck: something found no room; set likewise.
    """

    def __init__(self, path: str, min_free: int) -> None:
        self._directory = str(Path(path).absolute().parent)
        self._min_free = min_free
        self._looked = -_LOOK_EVERY
        self._low = False
        self.reusable = 0
        self.stuck = False

    @property
    def low(self) -> bool:
        """Less than the reserve is free."""
        now = time.monotonic()
        if self._low or now - self._looked >= _LOOK_EVERY:
            self._looked = now
            status = os.statvfs(self._directory)
            free = status.f_bavail * status.f_frsize
            self._low = free + self.reusable < self._min_free
        return self._low or self.stuck
