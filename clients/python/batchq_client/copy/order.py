"""Puts pulled batches back into their order. Pure: it knows no network and no file.

Several pulls are under way at once, and their answers may overtake each other. Lines that
are missing between two batches are either still under way to this reader or were taken
by another one. Only a pull that was under way when the later batch came can still bring
them: once all of those are answered, the gap is final.
"""

from __future__ import annotations

from batchq_client.model import Pulled


class Reorder:
    """Holds batches back until all lines before them are here, or known not to come.

    Attributes:
        next_offset: offset of the line that is due.
        gaps: lines that were found missing so far.
    """

    __slots__ = ("_held", "gaps", "next_offset")

    def __init__(self) -> None:
        self._held: dict[int, tuple[Pulled, set[int]]] = {}
        self.next_offset = 0
        self.gaps = 0

    @property
    def held(self) -> int:
        """Batches that are held back."""
        return len(self._held)

    def answered(self, pull: int, batch: Pulled | None, under_way: set[int]) -> list[Pulled]:
        """Notes the answer to a pull; gives the batches that are due, in order.

        Args:
            pull: which of this reader's pulls it was.
            batch: the lines that it brought, if any.
            under_way: the other pulls that are not answered yet.

        Raises:
            ValueError: lines came a second time.
        """
        for _, waits_for in self._held.values():
            waits_for.discard(pull)
        if batch is not None and batch.lines:
            if batch.offset < self.next_offset or batch.offset in self._held:
                raise ValueError(f"line {batch.offset} came twice")
            self._held[batch.offset] = (batch, set(under_way))
        return self._due()

    def _due(self) -> list[Pulled]:
        due = []
        while self._held:
            first = min(self._held)
            batch, waits_for = self._held[first]
            if first != self.next_offset and waits_for:
                break
            if first < self.next_offset:
                raise ValueError(f"line {first} came twice")
            del self._held[first]
            self.gaps += first - self.next_offset
            self.next_offset = first + batch.lines
            due.append(batch)
        return due
