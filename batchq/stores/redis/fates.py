"""What Redis has yet to be told of calls that are over.

Each call to a queue takes some of it along. Calls overtake each other, on connections of
their own: one that follows an answer may be run before the call that takes word of it. So
what is on its way is taken along again where it would change an answer; Redis does nothing
the second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

_T = TypeVar("_T")

_MOST_TOLD: Final = 32
"""Calls that one call tells the fate of."""

Void = tuple[str, str | None, bool]
"""Number, lease id, and whether copies of the call may still be on their way."""


class Word(NamedTuple):
    """What one call takes along; of what is not yet on its way by another, all comes first.

    Attributes:
        done: numbers of calls whose answers have arrived.
        void: pulls whose lines nobody wants.
    """

    done: list[str]
    void: list[Void]


@dataclass(slots=True)
class Fates:
    """The calls to one queue of which Redis has to be told how they ended.

    Attributes:
        done: those whose answers have arrived; Redis may forget them.
        void: pulls whose answers nobody wants.
    """

    done: list[str] = field(default_factory=list)
    void: list[Void] = field(default_factory=list)
    _telling_done: list[str] = field(default_factory=list)
    _telling_void: list[Void] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.done or self.void)

    @property
    def gives_back(self) -> bool:
        """Lines are about to come back."""
        return bool(self.void or self._telling_void)

    def take(self, *, ending: bool) -> Word:
        """Gives what a call is to take along.

        Args:
            ending: the queue ends when all answers have arrived, or someone waits for room.
        """
        done, self.done = self.done[:_MOST_TOLD], self.done[_MOST_TOLD:]
        void, self.void = self.void[:_MOST_TOLD], self.void[_MOST_TOLD:]
        again = self._telling_done[: _MOST_TOLD - len(done)] if ending else []
        word = Word(done + again, void + self._telling_void[: _MOST_TOLD - len(void)])
        self._telling_done += done
        self._telling_void += void
        return word

    def told(self, word: Word) -> None:
        """Redis knows, whichever call said it first."""
        _drop(self._telling_done, word.done)
        _drop(self._telling_void, word.void)

    def not_told(self, word: Word) -> None:
        """It is not known that Redis knows: the next call takes along what no other has told."""
        self.done[:0] = _drop(self._telling_done, word.done)
        self.void[:0] = _drop(self._telling_void, word.void)


def _drop(items: list[_T], some: list[_T]) -> list[_T]:
    """Removes those of some items that are there, and gives them."""
    there = [item for item in some if item in items]
    for item in there:
        items.remove(item)
    return there
