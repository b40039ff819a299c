"""Medians, spreads and paired ratios: the arithmetic every figure goes through.

Machines are shared and drift, so a ratio is formed between samples of the *same
round* and only then summarised; a ratio of two medians would mix rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Median and spread of some samples.

    Attributes:
        median: The middle sample (mean of the two middle ones for an even count).
        low: The smallest sample.
        high: The largest sample.
        count: How many samples there were.
    """

    median: float
    low: float
    high: float
    count: int


def summarise(samples: Sequence[float]) -> Summary:
    """Reduce samples to median, minimum and maximum.

    Raises:
        ValueError: There are no samples.
    """
    if not samples:
        raise ValueError("no samples to summarise")
    return Summary(statistics.median(samples), min(samples), max(samples), len(samples))


def paired_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divide sample by sample, one pair a round.

    Raises:
        ValueError: The two runs had different numbers of rounds, or a denominator is not
            positive.
    """
    if len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} rounds against {len(denominators)}: not one run")
    if any(below <= 0 for below in denominators):
        raise ValueError("a denominator is not positive")
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def reaches(value: float, threshold: float, *, at_most: bool = False) -> bool:
    """Tell whether a figure meets its threshold; `at_most` is for sizes and times."""
    return value <= threshold if at_most else value >= threshold
