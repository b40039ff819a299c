"""The ready lines against a plain list of them, and how little is looked at for a pull."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from types import FrameType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchq.broker.log import Point, Span
from batchq.broker.ready import Ready

SIZE = 3
"""Bytes of every line here."""


def span(first: int, end: int) -> Span:
    return Span(Point(first, first * SIZE), Point(end, end * SIZE))


class Naive:
    """How often each ready line was handed out, by offset."""

    def __init__(self) -> None:
        self.lines: dict[int, int] = {}

    def first(self) -> Span | None:
        if not self.lines:
            return None
        start = min(self.lines)
        end = start
        while end in self.lines:
            end += 1
        return span(start, end)


@given(st.data())
def test_as_a_plain_list_of_lines(data: st.DataObject) -> None:
    ready, naive = Ready(), Naive()
    out: list[list[tuple[int, int]]] = []
    pushed = 0
    for _ in range(data.draw(st.integers(1, 60))):
        match data.draw(st.sampled_from(["push", "take", "take", "release", "release"])):
            case "push":
                end = pushed + data.draw(st.integers(0, 4))
                ready.put(span(pushed, end), 0)
                naive.lines |= dict.fromkeys(range(pushed, end), 0)
                pushed = end
            case "take" if (first := naive.first()) is not None:
                end = data.draw(st.integers(first.start.offset + 1, first.end.offset))
                runs = ready.take(span(0, end).end)
                taken = [
                    (line, run.deliveries)
                    for run in runs
                    for line in range(run.span.start.offset, run.span.end.offset)
                ]
                low = first.start.offset
                assert taken == [(line, naive.lines.pop(line)) for line in range(low, end)]
                out.append(taken)
            case "release" if out:
                lines = out.pop(data.draw(st.integers(0, len(out) - 1)))
                for times, group in groupby(lines, key=itemgetter(1)):
                    same = [line for line, _ in group]
                    ready.put(span(same[0], same[-1] + 1), times + 1)
                    naive.lines |= dict.fromkeys(same, times + 1)
        assert ready.first() == naive.first()
        assert ready.lines == len(naive.lines)
        assert ready.bytes == len(naive.lines) * SIZE


def steps_of(call: Callable[[], object]) -> int:
    """How many lines of code are run."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def alternating(lines: int) -> Ready:
    """Lines each of which was handed out more or less often than the next one."""
    ready = Ready()
    for line in range(lines):
        ready.put(span(line, line + 1), line % 2)
    return ready


def test_a_pull_costs_the_same_however_often_lines_were_handed_out() -> None:
    few, many = alternating(10), alternating(1000)
    assert steps_of(few.first) == steps_of(many.first)
    end = span(0, 2).end
    assert steps_of(lambda: few.take(end)) == steps_of(lambda: many.take(end))
