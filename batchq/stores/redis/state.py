"""What a server knows of a queue: the last that a script said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchq.model import ProducerState


@dataclass(frozen=True, slots=True)
class State:
    """A queue at one moment of Redis's clock.

    Attributes:
        now: the moment, microseconds.
        life: the current life, or None.
        version: counts the life's changes.
        lines, bytes: the life's totals.
        ready: lines that a pull could take.
        stored: payload bytes that are held.
        run_lines, run_bytes: the consecutive lines that start at the lowest ready one.
        grow: pushes may still make them more.
        urgent: someone may wait for lines that are on their way to be gone.
        closed, drained: as in ``QueueStats``.
        due: seconds until a deadline of the queue, or None.
    """

    now: int = 0
    life: str | None = None
    version: int = 0
    lines: int = 0
    bytes: int = 0
    ready: int = 0
    stored: int = 0
    run_lines: int = 0
    run_bytes: int = 0
    grow: bool = True
    urgent: bool = False
    closed: bool = False
    drained: bool = False
    due: float | None = None


def read_state(told: Mapping[str, Any]) -> State:
    """Reads what ``state`` in ``lua/prelude.lua`` tells."""
    due = told.get("due")
    return State(
        now=told["now"],
        life=told.get("life"),
        version=told.get("ver", 0),
        lines=told.get("lines", 0),
        bytes=told.get("bytes", 0),
        ready=told.get("rl", 0),
        stored=told.get("stored", 0),
        run_lines=told.get("n", 0),
        run_bytes=told.get("b", 0),
        grow=told.get("grow", True),
        urgent=bool(told.get("refused") or told.get("closed")),
        closed=told.get("closed", False),
        drained=told.get("drained", False),
        due=due / 1_000_000 if due is not None else None,
    )


def read_producer(told: Mapping[str, Any] | None) -> ProducerState | None:
    """Reads a producer's state as the scripts keep it."""
    return ProducerState(told["e"], told["s"], told["l"], told["b"]) if told else None
