"""How a copy ends: exit codes, errors that carry one, and the summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_CLOSED: Final = 3
DIGEST_DIFFERS: Final = 4
INCOMPLETE: Final = 5
HUNG_UP: Final = 129
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143

EXIT_CODES: Final[dict[int, str]] = {
    OK: "the copy is complete",
    FAILED: "the copy failed, or its summary can't be printed; the message says why",
    USAGE: "wrong usage: a flag, an address, a file or a closed stream; nothing was touched",
    NOT_CLOSED: "the queue was not closed; what came is kept in the part file",
    DIGEST_DIFFERS: "what came is not what the writer sent: digest or last line end differ",
    INCOMPLETE: "other readers took lines of the queue (success with --shared)",
    HUNG_UP: "its terminal was closed (SIGHUP)",
    INTERRUPTED: "interrupted (Ctrl-C)",
    BROKEN_PIPE: "whoever read the standard output has left",
    TERMINATED: "ended by SIGTERM",
}
"""All exit codes of the copying commands, and what each means."""


class CopyError(Exception):
    """A copy that failed.

    Args:
        text: one line for people.
        exit_code: one of ``EXIT_CODES``.
    """

    def __init__(self, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class UsageError(CopyError):
    """Something that can't be right whatever the queue holds; told before anything is touched."""

    def __init__(self, text: str) -> None:
        super().__init__(text, USAGE)


class QueueGone(CopyError):
    """The queue's life ended before the copy did.

    Args:
        queue: its name.
        did: what the copy did with it, in words.
    """

    def __init__(self, queue: str, did: str) -> None:
        super().__init__(
            f"queue {queue!r} is not the one any more that the copy {did}: it was deleted, or "
            "its server lost it"
        )


class BrokenPipe(CopyError):
    """Nobody reads the destination any more."""

    def __init__(self) -> None:
        super().__init__("the reader of the output has left", BROKEN_PIPE)


@dataclass(slots=True)
class Progress:
    """What a running copy has done; written by the engine, read by whoever shows it.

    Attributes:
        bytes: source bytes that are done: stored in the queue, or written to the destination.
        lines: the same in lines.
        total_bytes: how many there will be, where that is known.
        warnings: what the user should know and does not fail the copy.
    """

    bytes: int = 0
    lines: int = 0
    total_bytes: int | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Summary:
    r"""What a copy did.

    Attributes:
        source: the source as it was given.
        destination: the destination as it was given.
        lines: lines copied; an unterminated last one counts.
        bytes: bytes of the source that were copied.
        seconds: how long it took.
        queue_id: the life of the queue that was written to or read from.
        digest: ``xxh3-128:<hex>`` over the bytes copied, or None where they are not all.
        digest_compared: the reader compared it with the writer's.
        complete: all lines of the source were copied, as far as can be known.
        closed: the queue was closed: by the writer, or as the reader saw it.
        unterminated: the last line has no ``\n``.
        server: for local copies through a server of their own, that queue's counters.
        warnings: what the user should know.
        error: why it failed, or None.
        exit_code: one of ``EXIT_CODES``.
    """

    source: str
    destination: str
    lines: int = 0
    bytes: int = 0
    seconds: float = 0.0
    queue_id: str | None = None
    digest: str | None = None
    digest_compared: bool = False
    complete: bool = False
    closed: bool = False
    unterminated: bool = False
    server: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    exit_code: int = OK

    def as_json(self) -> dict[str, Any]:
        """The summary as ``--json`` prints it."""
        rate = self.lines / self.seconds if self.seconds > 0 else 0.0
        return {**asdict(self), "lines_per_second": round(rate, 1)}
