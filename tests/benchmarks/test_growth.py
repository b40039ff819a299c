from __future__ import annotations

import pytest

from benchmarks.figures import Curve, Growth
from benchmarks.suites.growth import flatness


def plot(*curves: Curve, why_not: str = "") -> Growth:
    return Growth("depth", "Cost", "lines", "ns/line", {}, "ours", list(curves), why_not)


def test_flatness_is_the_cost_at_the_far_end_over_that_at_the_beginning() -> None:
    push = Curve("push", [(0, [10.0, 10.0]), (5, [99.0, 99.0]), (1000, [11.0, 12.0])])
    pull = Curve("pull", [(0, [10.0, 10.0]), (5, [99.0, 99.0]), (1000, [11.0, 14.0])])
    target = flatness(plot(push, pull))
    assert target.samples == pytest.approx([1.1, 1.3])
    assert (target.row, target.against) == (
        "cost of a line, 1,000 lines in the queue",
        "0 lines in the queue",
    )
    assert target.verdict() == "below"


def test_flatness_compares_the_rounds_that_both_ends_have() -> None:
    push = Curve("push", [(0, [10.0, 10.0, 10.0]), (1000, [10.0, 11.0])])
    target = flatness(plot(push))
    assert target.samples == pytest.approx([1.0, 1.1])
    assert target.verdict() == "goal"


def test_a_plot_without_curves_says_why() -> None:
    target = flatness(plot(why_not="no time was left for it"))
    assert (target.verdict(), target.why_not) == ("not measured", "no time was left for it")
