"""Blocks of deleted lives: removed some at a time, as no delete may cost what its queue held."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import apsw

from batchq.stores.sqlite.schema import block_id

_NEXT: Final = """
SELECT id, length(data) FROM block WHERE id >= ?1 AND id < ?2
UNION ALL
SELECT id, 0 FROM extent WHERE id >= ?1 AND id < ?2
ORDER BY id LIMIT ?3
"""

_DELETE_BLOCKS: Final = "DELETE FROM block WHERE id >= ? AND id < ?"

_DELETE_EXTENTS: Final = "DELETE FROM extent WHERE id >= ? AND id < ? RETURNING place, size"


@dataclass(slots=True)
class Budget:
    """How much may be removed at once.

    Attributes:
        steps: blocks, and lives.
        size: bytes of the database.
    """

    steps: int
    size: int

    @property
    def used(self) -> bool:
        """Nothing more may be removed."""
        return self.steps <= 0 or self.size <= 0


@dataclass(slots=True)
class Removed:
    """What was removed.

    Attributes:
        lives: numbers of those of which no block is left.
        places: what blocks had in the file of lines: place and size.
    """

    lives: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)


def collect(connection: apsw.Connection, numbers: Iterable[int], budget: Budget) -> Removed:
    """Removes blocks of deleted lives, one life after the other, until a budget is used.

    Args:
        connection: in a transaction.
        numbers: of these lives.
        budget: how much; it is used up, by one block or life too much at most.
    """
    removed = Removed()
    for number in numbers:
        if budget.used:
            break
        first, end = block_id(number, 0), block_id(number + 1, 0)
        bounds = (first, _reach(connection, first, end, budget))
        connection.execute(_DELETE_BLOCKS, bounds)
        removed.places += connection.execute(_DELETE_EXTENTS, bounds)
        if bounds[1] == end:
            connection.execute("DELETE FROM garbage WHERE life=?", (number,))
            removed.lives.append(number)
    return removed


def _reach(connection: apsw.Connection, first: int, end: int, budget: Budget) -> int:
    """Tells up to which id blocks may be removed."""
    budget.steps -= 1
    with closing(connection.execute(_NEXT, (first, end, budget.steps + 1))) as cursor:
        for number, size in cursor:
            budget.steps -= 1
            budget.size -= size
            if budget.used:
                return int(number) + 1
    return end
