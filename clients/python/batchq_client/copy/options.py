"""What a user may choose about a copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """Sizes are bytes, times are seconds.

    Attributes:
        batch_bytes: bytes of a batch, pushed or pulled.
        in_flight: requests that are under way at once.
        linger: how long bytes of a slow source wait for more before they are sent.
        wait: how long one pull waits.
        retries: pulls in a row that waited their full time for nothing, until a reader stops.
        lease: how long lines are held for a reader that has not said that they are safe.
        retry_for: how long a fault is retried before the copy fails.
        keep_open: the writer does not close the queue.
        until_idle: a reader that stopped for want of lines is content.
        shared: a reader is content with a part of the lines: others read too.
        resume: go on where an earlier copy of the same two sides was ended.
        state_dir: where a writer keeps what it needs to be resumed, or None: nowhere.
    """

    batch_bytes: int = MIB
    in_flight: int = 8
    linger: float = 0.1
    wait: float = 5.0
    retries: int = 3
    lease: float = 60.0
    retry_for: float = 300.0
    keep_open: bool = False
    until_idle: bool = False
    shared: bool = False
    resume: bool = False
    state_dir: Path | None = None
