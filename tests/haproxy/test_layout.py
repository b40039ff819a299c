from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchq.haproxy import (
    Layout,
    LayoutError,
    first,
    moved_queues,
    moves,
    rebalanced,
    slot_of,
)
from batchq.haproxy.layout import runs

NAMES = [f"s{number}" for number in range(40)]
shard_sets = st.lists(st.sampled_from(NAMES), min_size=1, max_size=12, unique=True)
slot_counts = st.integers(13, 300)


def balanced(layout: Layout, shards: list[str]) -> bool:
    has = Counter(layout.owners)
    return set(has) == set(shards) and max(has.values()) - min(has.values()) <= 1


@given(shard_sets, slot_counts)
def test_a_first_layout_shares_all_slots_evenly(shards: list[str], slots: int) -> None:
    layout = first(shards, slots)
    assert len(layout.owners) == slots
    assert balanced(layout, shards)
    assert all(len(runs(layout.slots_of(shard))) == 1 for shard in shards)


@given(st.lists(shard_sets, min_size=2, max_size=6), slot_counts)
def test_other_shards_move_as_few_slots_as_can_be(history: list[list[str]], slots: int) -> None:
    layout = first(history[0], slots)
    for shards in history[1:]:
        new = rebalanced(layout, shards)
        assert balanced(new, shards)
        moved = sum(move.last - move.first + 1 for move in moves(layout, new))
        has = Counter(layout.owners)
        # Whatever the order of the shards, those that had most may keep one slot more.
        least, over = divmod(slots, len(shards))
        richest = sorted((has[shard] for shard in shards), reverse=True)
        kept = sum(min(own, least + (rank < over)) for rank, own in enumerate(richest))
        assert moved == slots - kept
        assert rebalanced(new, shards) == new
        layout = new


@given(shard_sets, slot_counts, st.sampled_from(["new1", "new2"]))
def test_a_new_shard_only_takes(shards: list[str], slots: int, name: str) -> None:
    old = first(shards, slots)
    for move in moves(old, rebalanced(old, [*shards, name])):
        assert move.target == name


@given(st.lists(shard_sets, min_size=2, max_size=2), slot_counts)
def test_moves_tell_every_slot_once(sets: list[list[str]], slots: int) -> None:
    old = first(sets[0], slots)
    new = rebalanced(old, sets[1])
    told = {
        slot: (move.source, move.target)
        for move in moves(old, new)
        for slot in range(move.first, move.last + 1)
    }
    pairs = zip(old.owners, new.owners, strict=True)
    assert told == {slot: pair for slot, pair in enumerate(pairs) if pair[0] != pair[1]}


@given(st.sets(st.integers(0, 100)))
def test_runs_are_the_slots(slots: set[int]) -> None:
    found = runs(slots)
    assert [slot for low, high in found for slot in range(low, high + 1)] == sorted(slots)
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(found))


def test_a_slot_is_that_of_every_version() -> None:
    # Queues live where this says: it can't change.
    assert [slot_of(name, 1024) for name in ("q", "myqueue", "A-1.b_c")] == [825, 1002, 131]


def test_queues_that_stay_and_settle() -> None:
    old = first(["a", "b"], 64)
    queues = [f"q{number}" for number in range(60)]
    moving = [one for one in queues if rebalanced(old, ["a", "b", "c"]).shard_of(one) == "c"]
    assert moving
    busy, *others = moving
    new = rebalanced(old, ["a", "b", "c"], [busy, "elsewhere"])
    assert new.shard_of(busy) == old.shard_of(busy)
    assert all(new.shard_of(one) == "c" for one in others)
    assert moved_queues(old, new) == set()
    # It stays as long as it is named, whatever else happens.
    later = rebalanced(new, ["a", "b", "c", "d"], new.stays)
    assert later.shard_of(busy) == old.shard_of(busy)
    settled = rebalanced(new, ["a", "b", "c"], ())
    assert settled.shard_of(busy) == "c"
    assert moved_queues(new, settled) == {busy}
    with pytest.raises(LayoutError, match="can't stay"):
        rebalanced(new, ["c", "d"], [busy])


def test_what_can_not_be() -> None:
    for shards, slots, why in (
        ([], 8, "no shard"),
        (["a", "a"], 8, "named twice"),
        (["a", "b", "c"], 2, "can't share"),
    ):
        with pytest.raises(LayoutError, match=why):
            first(shards, slots)
        with pytest.raises(LayoutError, match=why):
            rebalanced(Layout(("x",) * slots), shards)
    with pytest.raises(LayoutError, match="never changes"):
        moves(first(["a"], 8), first(["a"], 9))
