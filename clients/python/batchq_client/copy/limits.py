"""How long a line may be, and what to do about a longer one."""

from __future__ import annotations

from dataclasses import dataclass

from batchq_client.model import Health


@dataclass(frozen=True, slots=True)
class LineLimit:
    r"""The longest line that can be pushed.

    Attributes:
        flags: the server's limits in bytes, a line's ``\n`` included, by the flag that sets each.
        last: bytes of a last line without ``\n``: the server adds one once it has the line.
        local: the server is the copy's own, whose flags nobody can set.
    """

    flags: dict[str, int]
    last: int
    local: bool = False

    @classmethod
    def of(cls, health: Health, *, local: bool = False) -> LineLimit | None:
        """What a server tells of its limits; None where it tells none.

        Args:
            health: what it says.
            local: it is the copy's own.
        """
        told = {"--max-body": health.max_body, "--max-queue-bytes": health.max_queue_bytes}
        flags = {flag: limit for flag, limit in told.items() if limit is not None}
        if not flags:
            return None
        queue = health.max_queue_bytes
        last = min(flags.values()) if queue is None else min(*flags.values(), queue - 1)
        return cls(flags, last, local)

    @property
    def size(self) -> int:
        r"""Bytes of the longest line, its ``\n`` included."""
        return min(self.flags.values())

    def exceeded(self, name: str, line: int, length: int | None) -> str:
        """Says that a line is too long, and what to do about it.

        Args:
            name: the source's.
            line: the line's number, from 1.
            length: its bytes without its end, or None where it has no end in sight.
        """
        has = f"more than {self.size}" if length is None else str(length)
        text = f"{name}: line {line} has {has} bytes, and "
        if self.local:
            return f"{text}a local copy takes at most {self.size} with the line's end"
        needed = self.size + 1 if length is None else length + 1
        flags = [flag for flag, limit in self.flags.items() if limit < needed]
        return (
            f"{text}the server takes at most {self.size} with the line's end: raise its "
            f"{' and '.join(flags)}"
        )
