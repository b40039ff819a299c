"""Puts pulled batches back into their order. Pure: it knows no network and no file.

Several pulls are under way at once, and their answers may overtake each other. Lines that
are missing before a batch are either still under way to this reader, or out to another one,
or gone. Once all pulls are answered that were under way when the batch came, it is not for
this module to tell which: the order is stuck until they come after all, or are skipped.

Several readers that share a queue miss each other's lines all the time: there a gap is
skipped at once, and lines of it that come late are given late.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Final

from batchq_client.model import Pulled

_NEWLINE: Final = b"\n"


class Reorder:
    """Holds batches back until all lines before them are here, or are skipped.

    Args:
        next_offset: offset of the line that is due first.
        next_position: its position.
        shared: lines of a gap may come late, and are given then.

    Attributes:
        next_offset: offset of the line that is due.
        next_position: its position.
        gaps: lines that were skipped and have not come since.
        late: lines that came when later ones had been given.
        held_bytes: payload bytes of the batches that are held back.
    """

    def __init__(
        self, next_offset: int = 0, next_position: int = 0, *, shared: bool = False
    ) -> None:
        self._held: list[tuple[int, int, Pulled, set[int]]] = []
        self._missing: list[tuple[int, int]] = []
        self._count = 0
        self._shared = shared
        self.next_offset = next_offset
        self.next_position = next_position
        self.gaps = 0
        self.late = 0
        self.held_bytes = 0

    @property
    def held(self) -> int:
        """Batches that are held back."""
        return len(self._held)

    @property
    def gap(self) -> range:
        """The missing lines before those that are held back, by offset."""
        return range(self.next_offset, self._held[0][0] if self._held else self.next_offset)

    @property
    def stuck(self) -> bool:
        """Lines are missing that no pull can bring which was under way when later ones came."""
        return bool(self._held) and not self._held[0][3]

    def answered(self, pull: int, batch: Pulled | None, under_way: set[int]) -> list[Pulled]:
        """Notes the answer to a pull; gives the batches that are due, in order.

        Of lines that were given before, only the lease is given again, with no lines.

        Args:
            pull: which of this reader's pulls it was.
            batch: the lines that it brought, if any.
            under_way: the other pulls that are not answered yet.

        Raises:
            ValueError: lines came that had been skipped, and the queue is not shared.
        """
        for _, _, _, waits_for in self._held:
            waits_for.discard(pull)
        if batch is not None and batch.lines:
            self._count += 1
            heappush(self._held, (batch.offset, self._count, batch, set(under_way)))
            self.held_bytes += len(batch.data)
        due = self._due()
        while self._shared and self.stuck:
            due += self.skip()
        return due

    def skip(self) -> list[Pulled]:
        """Does without the missing lines; gives the batches that were held for them."""
        if not self._held:
            return []
        offset, _, batch, _ = self._held[0]
        self.gaps += offset - self.next_offset
        self._missing.append((self.next_offset, offset))
        self.next_offset, self.next_position = offset, batch.position
        return self._due()

    def pop_last(self) -> Pulled:
        """Gives the last batch that is held back away, as if it had not come."""
        last = max(self._held, key=lambda held: held[:2])
        self._held.remove(last)
        heapify(self._held)
        self.held_bytes -= len(last[2].data)
        return last[2]

    def _due(self) -> list[Pulled]:
        due: list[Pulled] = []
        while self._held and self._held[0][0] <= self.next_offset:
            batch = heappop(self._held)[2]
            self.held_bytes -= len(batch.data)
            due += self._new(batch)
        return due

    def _new(self, batch: Pulled) -> list[Pulled]:
        """What of a batch was not given before; the lease goes with its last part."""
        known = self.next_offset - batch.offset
        end = batch.offset + batch.lines
        parts = self._late(batch) if known > 0 and self._missing else []
        if known > 0:
            skip = min(len(batch.data), self.next_position - batch.position)
            batch = replace(
                batch,
                offset=min(end, self.next_offset),
                position=batch.position + skip,
                lines=max(0, batch.lines - known),
                data=batch.data[skip:],
            )
        if batch.lines:
            self.next_offset = end
            self.next_position = batch.position + len(batch.data)
        return [*parts, batch]

    def _late(self, batch: Pulled) -> list[Pulled]:
        """The lines of a batch that fill a gap which had been taken as final."""
        parts: list[Pulled] = []
        missing: list[tuple[int, int]] = []
        end = batch.offset + batch.lines
        lines: list[bytes] | None = None
        for low, high in self._missing:
            first, last = max(low, batch.offset), min(high, end)
            if first >= last:
                missing.append((low, high))
                continue
            if not self._shared:
                raise ValueError(f"line {first} came when later ones had been written")
            lines = lines or _lines(batch.data)
            data = b"".join(lines[first - batch.offset : last - batch.offset])
            before = sum(map(len, lines[: first - batch.offset]))
            parts.append(
                replace(
                    batch,
                    offset=first,
                    position=batch.position + before,
                    lines=last - first,
                    data=data,
                    lease=None,
                )
            )
            missing += [span for span in ((low, first), (last, high)) if span[0] < span[1]]
            self.gaps -= last - first
            self.late += last - first
        self._missing = missing
        return parts


def _lines(data: bytes) -> list[bytes]:
    return [line + _NEWLINE for line in data.split(_NEWLINE)[:-1]]
