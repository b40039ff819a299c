"""What a row of the page is: a cure, what is measured of it, and how a sample is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.cures.bench import Bench
from benchmarks.figures import Cure

STOCK: Final[dict[str, Any]] = {"stock": True}
SMALL_WINDOWS: Final[dict[str, Any]] = {"stream_window": 65_535, "connection_window": 65_535}
IDLE: Final = 0.3
"""Seconds after which an idle connection is closed, so that a row takes no minutes."""
NEVER: Final = 86_400.0
"""Seconds that no row takes."""

Sample = Callable[[Bench, bool], float]
"""Takes one sample, with the cure or without it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A cure and how its samples are taken.

    Attributes:
        cure: The row of the page, without samples.
        sample: Takes one.
        rounds: How many pairs at most: fewer where one takes seconds by its nature.
    """

    cure: Cure
    sample: Sample
    rounds: int = 5
