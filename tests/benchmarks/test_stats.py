from __future__ import annotations

import pytest

from benchmarks.stats import paired_ratios, reaches, summarise


def test_summary_gives_median_and_both_ends() -> None:
    summary = summarise([3.0, 1.0, 2.0])
    assert (summary.median, summary.low, summary.high, summary.count) == (2.0, 1.0, 3.0, 3)


def test_median_of_an_even_count_is_the_mean_of_the_middle_two() -> None:
    assert summarise([1.0, 10.0, 2.0, 4.0]).median == 3.0


def test_summary_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_ratios_pair_samples_of_the_same_round() -> None:
    # The ratio of the medians would be 1.0: drift between the rounds must cancel.
    assert paired_ratios([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == [2.0, 2.0, 2.0]
    assert summarise(paired_ratios([4.0, 10.0, 16.0], [1.0, 10.0, 2.0])).median == 4.0


def test_ratios_of_runs_with_different_rounds_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 rounds against 1"):
        paired_ratios([1.0, 2.0], [1.0])


def test_a_denominator_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="not positive"):
        paired_ratios([1.0], [0.0])


def test_thresholds_hold_at_their_own_value() -> None:
    assert reaches(9.0, 9.0)
    assert not reaches(8.9, 9.0)
    assert reaches(40.0, 40.0, at_most=True)
    assert not reaches(40.1, 40.0, at_most=True)
