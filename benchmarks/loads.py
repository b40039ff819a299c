"""The loads: deterministic lines of known size, made once and kept in memory.

A line's size is counted without its newline, as the protocol counts lines; a payload's
size is counted with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

NEWLINE = 10
# 64 printable bytes, so that six random bits pick one without bias.
ALPHABET = np.frombuffer(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", dtype=np.uint8
)
# Drivers cycle through this much distinct payload: more than the cores' caches
# hold, little enough to be generated in well under a second.
POOL_BYTES = 16 * 1024 * 1024
POOL_BATCHES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """Some lines as one payload.

    Attributes:
        payload: The lines, each followed by a newline.
        lines: How many lines the payload holds.
    """

    payload: bytes
    lines: int


@dataclass(frozen=True, slots=True)
class Load:
    """A named kind of line.

    Attributes:
        name: What figures call it.
        line_bytes: A line's size without newline; the mean where sizes vary.
        about: One phrase for the report.
        make: Renders `(first line number, count)` as a payload.
    """

    name: str
    line_bytes: int
    about: str
    make: Callable[[int, int], bytes]

    def lines_in(self, batch_bytes: int) -> int:
        """Count the lines of a batch of about `batch_bytes` payload bytes; at least one."""
        return max(1, batch_bytes // (self.line_bytes + 1))

    def batch(self, first: int, lines: int) -> Batch:
        """Render `lines` lines from line number `first` on."""
        return Batch(self.make(first, lines), lines)


def _with_newlines(text: npt.NDArray[np.uint8]) -> bytes:
    rows, width = text.shape
    payload = np.empty((rows, width + 1), dtype=np.uint8)
    payload[:, :width] = text
    payload[:, width] = NEWLINE
    return payload.tobytes()


def _counter(first: int, count: int, digits: int = 7) -> bytes:
    numbers = np.arange(first, first + count, dtype=np.int64)
    powers = 10 ** np.arange(digits - 1, -1, -1, dtype=np.int64)
    return _with_newlines((numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8))


def _random(width: int) -> Callable[[int, int], bytes]:
    def make(first: int, count: int) -> bytes:
        bits = np.random.default_rng((width, first)).integers(
            0, ALPHABET.size, size=(count, width), dtype=np.uint8
        )
        return _with_newlines(ALPHABET[bits])

    return make


def _log(first: int, count: int) -> bytes:
    return b"".join(
        b"2026-01-01T%02d:%02d:%02d.%03dZ INFO worker-%02d GET /api/v1/items/%09d "
        b"status=%d bytes=%d took_ms=%d\n"
        % (
            n // 3_600_000 % 24,
            n // 60_000 % 60,
            n // 1000 % 60,
            n % 1000,
            n % 32,
            n * 7919 % 1_000_000_000,
            (200, 200, 200, 304, 404)[n % 5],
            n * 31 % 100_000,
            n * 13 % 900,
        )
        for n in range(first, first + count)
    )


LOADS = {
    load.name: load
    for load in (
        Load("seq", 7, "7-byte lines from a counter", _counter),
        Load("short", 20, "20-byte lines", _random(20)),
        Load("log", 100, "log lines of about 100 bytes", _log),
        Load("wide", 1024, "1 KiB lines", _random(1024)),
    )
}


@lru_cache(maxsize=8)
def pool(name: str, batch_bytes: int) -> tuple[Batch, ...]:
    """Make the distinct batches that a driver cycles through.

    Args:
        name: A key of `LOADS`.
        batch_bytes: The size of one batch's payload in bytes; the batch is the most whole
            lines that fit, at least one.
    """
    load = LOADS[name]
    lines = load.lines_in(batch_bytes)
    count = POOL_BYTES // max(1, lines * (load.line_bytes + 1))
    count = min(POOL_BATCHES_MAX, max(4, count))
    return tuple(load.batch(index * lines, lines) for index in range(count))
