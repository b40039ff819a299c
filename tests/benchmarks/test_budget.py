from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.budget import Budget
from benchmarks.context import Context
from benchmarks.figures import Run


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_shares_are_of_what_is_left_and_the_rest_falls_back() -> None:
    clock = Clock()
    budget = Budget(100, clock)
    with budget.share(0.5):
        assert budget.left() == 50
        clock.now += 10
        with budget.share(0.25):
            assert budget.left() == 10
            clock.now += 30
            assert budget.left() == -20
    assert (budget.used(), budget.left()) == (40, 60)


def test_a_part_that_is_overdue_gives_no_less_than_nothing() -> None:
    clock = Clock()
    budget = Budget(10, clock)
    clock.now += 20
    with budget.share(0.5):
        assert budget.left() == 0


@pytest.mark.parametrize(
    ("seconds", "round_seconds", "count"),
    [(100, 1, 5), (10, 3, 3), (10, 100, 2), (0, 1, 2), (4, 2, 2), (6, 2, 3)],
)
def test_rounds_go_on_while_the_longest_fits(
    seconds: float, round_seconds: float, count: int
) -> None:
    clock = Clock()
    budget = Budget(seconds, clock)
    rounds = []
    for number in budget.rounds(2, 5):
        rounds.append(number)
        clock.now += round_seconds
    assert rounds == list(range(count))


def test_a_suite_may_take_more_rounds_while_time_is_left(tmp_path: Path) -> None:
    clock = Clock()
    context = Context(Run("full", "", {}), Budget(100, clock), tmp_path, quick=False)
    assert len(list(context.rounds(15))) == 15
    assert len(list(context.rounds())) == 5
    for _ in context.rounds(15):
        clock.now += 40
    assert clock.now == 180
