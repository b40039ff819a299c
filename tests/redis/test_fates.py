"""Every call's fate is told, and taken along again only where that matters."""

from __future__ import annotations

from batchq.stores.redis.fates import Fates


def test_what_is_on_its_way_is_taken_along_again_at_the_end_only() -> None:
    fates = Fates(done=["a"])
    first = fates.take(ending=False)
    assert (first.done, first.void) == (["a"], [])
    assert fates.take(ending=False).done == []
    assert fates.take(ending=True).done == ["a"]
    fates.told(first)
    assert fates.take(ending=True).done == []
    assert not fates


def test_lines_that_nobody_wants_are_told_of_by_each_call() -> None:
    fates = Fates(void=[("a", None, False)])
    first, second = fates.take(ending=False), fates.take(ending=False)
    assert first.void == second.void == [("a", None, False)]
    seen = [fates.gives_back]
    fates.told(second)
    assert [*seen, fates.gives_back] == [True, False]
    fates.told(first)
    assert fates.take(ending=False).void == []


def test_what_was_not_told_is_told_by_the_next() -> None:
    fates = Fates(done=["a", "b"], void=[("c", "l", True)])
    fates.not_told(fates.take(ending=True))
    assert (fates.done, fates.void) == (["a", "b"], [("c", "l", True)])
    assert fates


def test_what_another_call_told_need_not_be_told_again() -> None:
    fates = Fates(done=["a", "b"], void=[("c", "l", True)])
    first, second = fates.take(ending=True), fates.take(ending=True)
    fates.not_told(second)
    assert fates.take(ending=True).done == ["a", "b"]
    second = fates.take(ending=True)
    fates.told(second)
    fates.not_told(first)
    assert not fates


def test_a_call_takes_a_few_along_and_what_is_new_comes_first() -> None:
    fates = Fates(done=[f"{n}" for n in range(40)])
    assert fates.take(ending=True).done == [f"{n}" for n in range(32)]
    second = fates.take(ending=True).done
    assert second[:8] == [f"{n}" for n in range(32, 40)]
    assert len(second) == 32
