"""Puts pulled batches back into their order. Pure: it knows no network and no file.

Several pulls are under way at once, and their answers may overtake each other. Lines that
are missing between two batches are either still under way to this reader or were taken
by another one. As long as nothing went wrong, only a pull that was under way when the
later batch came can still bring them: once all of those are answered, the gap is final.

When a lease may have run out, any later pull may bring them, and lines that are here come
again, in other batches: a patient order waits until it is told that a gap is final.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Final

from batchq_client.model import Pulled

_NEWLINE: Final = b"\n"


class Reorder:
    """Holds batches back until all lines before them are here, or known not to come.

    Args:
        next_offset: offset of the line that is due first.
        next_position: its position.
        shared: lines of a gap may come late, and are given then.

    Attributes:
        next_offset: offset of the line that is due.
        next_position: its position.
        gaps: lines that were found missing and have not come since.
        late: lines that came when later ones had been given.
        patient: a gap is final only when ``give_up`` says so.
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
        self.patient = False
        self.held_bytes = 0

    @property
    def held(self) -> int:
        """Batches that are held back."""
        return len(self._held)

    def answered(self, pull: int, batch: Pulled | None, under_way: set[int]) -> list[Pulled]:
        """Notes the answer to a pull; gives the batches that are due, in order.

        Of lines that were given before, only the lease is given again, with no lines.

        Args:
            pull: which of this reader's pulls it was.
            batch: the lines that it brought, if any.
            under_way: the other pulls that are not answered yet.

        Raises:
            ValueError: lines of a gap that was final came, and the queue is not shared.
        """
        for _, _, _, waits_for in self._held:
            waits_for.discard(pull)
        if batch is not None and batch.lines:
            self._count += 1
            heappush(self._held, (batch.offset, self._count, batch, set(under_way)))
            self.held_bytes += len(batch.data)
        return self._due(final=False)

    def give_up(self) -> list[Pulled]:
        """Takes all gaps as final; gives the batches that were held back."""
        return self._due(final=True)

    def pop_last(self) -> Pulled:
        """Gives the last batch that is held back away, as if it had not come."""
        last = max(self._held, key=lambda held: held[:2])
        self._held.remove(last)
        heapify(self._held)
        self.held_bytes -= len(last[2].data)
        return last[2]

    def _due(self, *, final: bool) -> list[Pulled]:
        due: list[Pulled] = []
        while self._held:
            offset, _, batch, waits_for = self._held[0]
            if offset > self.next_offset:
                if not final and (waits_for or self.patient):
                    break
                self.gaps += offset - self.next_offset
                self._missing.append((self.next_offset, offset))
                self.next_offset, self.next_position = offset, batch.position
            heappop(self._held)
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
