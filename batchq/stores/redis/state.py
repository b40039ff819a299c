"""What a server knows of a queue: the last that a script said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from batchq.model import ProducerState


@dataclass(frozen=True, slots=True)
class State:
    """A queue at one moment of Redis's clock.

    Attributes:
        now: the moment, microseconds.
        life: the current life, or None.
        version: counts the life's changes.
        generation: of which Redis: another after a failover, and after a restart.
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
    generation: str | None = None
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


class Order(Enum):
    """How two states follow each other."""

    NEWER = "the second is not the older one"
    OLDER = "the second is the older one"
    DOUBTFUL = "nothing tells"


def order(first: State, second: State) -> Order:
    """Tells whether a state that comes in is newer than the one that is known.

    A life's changes are counted. Times are compared only where there is nothing else: those
    of another Redis, after a failover, may be behind.
    """
    if first.life is not None and first.life == second.life:
        if first.generation == second.generation:
            return Order.OLDER if second.version < first.version else Order.NEWER
        return Order.DOUBTFUL
    return Order.NEWER if second.now >= first.now else Order.DOUBTFUL


def read_state(told: Mapping[str, Any]) -> State:
    """Reads what ``state`` in ``lua/prelude.lua`` tells."""
    due = told.get("due")
    return State(
        now=told["now"],
        life=told.get("life"),
        version=told.get("ver", 0),
        generation=told.get("gen"),
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
