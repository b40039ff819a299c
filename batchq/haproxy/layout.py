"""Which shard a queue lives on: name → slot → shard, and what moves when shards change.

The slots are many and their number is fixed, so that a new shard takes over a few slots of
each other one and nothing else moves. A slot has one shard, whether that is up or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

import xxhash

SLOTS: Final = 1024
"""Slots of a new layout: ten for each of a hundred shards."""


class LayoutError(ValueError):
    """A layout that can't be; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where every queue lives.

    Attributes:
        owners: the shard of each slot.
        stays: queues that live elsewhere than their slot says, each with its shard: they
            were busy when the slot moved.
    """

    owners: tuple[str, ...]
    stays: Mapping[str, str] = field(default_factory=dict)

    def shard_of(self, queue: str) -> str:
        """The one shard that a queue lives on."""
        return self.stays.get(queue) or self.owners[slot_of(queue, len(self.owners))]

    def slots_of(self, shard: str) -> list[int]:
        """A shard's slots, ascending."""
        return [slot for slot, owner in enumerate(self.owners) if owner == shard]


@dataclass(frozen=True, slots=True)
class Move:
    """A run of slots that changes its shard.

    Attributes:
        first: the first slot.
        last: the last slot.
        source: the shard that has them.
        target: the shard that is to have them.
    """

    first: int
    last: int
    source: str
    target: str

    def __str__(self) -> str:
        """The move in a line."""
        one = self.first == self.last
        slots = f"slot {self.first}" if one else f"slots {self.first}-{self.last}"
        return f"{slots}: {self.source} -> {self.target}"


def slot_of(queue: str, slots: int) -> int:
    """A queue's slot: XXH32 (seed 0) of its name, modulo the number of slots."""
    return xxhash.xxh32_intdigest(queue.encode()) % slots


def first(shards: Sequence[str], slots: int = SLOTS) -> Layout:
    """The layout of shards that hold nothing yet: a run of slots each, of the same length.

    Raises:
        LayoutError: there are no shards, or more than slots.
    """
    _check(shards, slots)
    return Layout(tuple(shards[slot * len(shards) // slots] for slot in range(slots)))


def rebalanced(layout: Layout, shards: Sequence[str], stays: Iterable[str] = ()) -> Layout:
    """The layout of another set of shards, with as few slots moved as can be.

    Each shard has the same number of slots then, give or take one. A shard gives up slots
    only where it has too many, or is not there any more.

    Args:
        layout: the one in force.
        shards: those of the new layout.
        stays: queues that remain where they are, whatever their slot does.

    Raises:
        LayoutError: there are no shards, or more than slots; or a queue can't stay, as its
            shard is to go.
    """
    slots = len(layout.owners)
    _check(shards, slots)
    quota = _quotas(layout, shards)
    kept: Counter[str] = Counter()
    owners: list[str | None] = []
    for owner in layout.owners:
        keeps = kept[owner] < quota.get(owner, 0)
        kept[owner] += keeps
        owners.append(owner if keeps else None)
    takers = (shard for shard in shards for _ in range(quota[shard] - kept[shard]))
    settled = tuple(next(takers) if owner is None else owner for owner in owners)
    return Layout(settled, _stays(layout, settled, shards, stays))


def moves(old: Layout, new: Layout) -> list[Move]:
    """The slots that change their shard, in runs, ascending.

    Raises:
        LayoutError: the layouts have different numbers of slots.
    """
    if len(old.owners) != len(new.owners):
        raise LayoutError(
            f"one has {len(old.owners)} slots and the other {len(new.owners)}: "
            "the number of slots never changes"
        )
    pairs = enumerate(zip(old.owners, new.owners, strict=True))
    changed = [(slot, *pair) for slot, pair in pairs if pair[0] != pair[1]]
    found = []
    runs = groupby(enumerate(changed), lambda one: (one[1][0] - one[0], one[1][1:]))
    for (_, (source, target)), run in runs:
        slots = [slot for _, (slot, *_) in run]
        found.append(Move(slots[0], slots[-1], source, target))
    return found


def moved_queues(old: Layout, new: Layout) -> set[str]:
    """Queues that are named in a layout and move although their slot may not."""
    named = {*old.stays, *new.stays}
    return {queue for queue in named if old.shard_of(queue) != new.shard_of(queue)}


def runs(slots: Iterable[int]) -> list[tuple[int, int]]:
    """Slots as runs of first and last, ascending."""
    found: list[tuple[int, int]] = []
    for slot in sorted(set(slots)):
        if found and found[-1][1] == slot - 1:
            found[-1] = (found[-1][0], slot)
        else:
            found.append((slot, slot))
    return found


def _quotas(layout: Layout, shards: Sequence[str]) -> dict[str, int]:
    """How many slots each shard is to have: those that have most get what doesn't divide."""
    least, over = divmod(len(layout.owners), len(shards))
    has = Counter(layout.owners)
    order = sorted(range(len(shards)), key=lambda at: (-has[shards[at]], at))
    return {shards[at]: least + (rank < over) for rank, at in enumerate(order)}


def _stays(
    layout: Layout, owners: tuple[str, ...], shards: Sequence[str], stays: Iterable[str]
) -> dict[str, str]:
    bare = Layout(owners)
    found = {}
    for queue in sorted(set(stays)):
        shard = layout.shard_of(queue)
        if shard not in shards:
            raise LayoutError(f"queue {queue!r} can't stay on {shard}, which is not there any more")
        if bare.shard_of(queue) != shard:
            found[queue] = shard
    return found


def _check(shards: Sequence[str], slots: int) -> None:
    if not shards:
        raise LayoutError("there is no shard: name at least one")
    if len(set(shards)) != len(shards):
        twice = next(name for name, count in Counter(shards).items() if count > 1)
        raise LayoutError(f"shard {twice} is named twice")
    if len(shards) > slots:
        raise LayoutError(f"{len(shards)} shards can't share {slots} slots")
