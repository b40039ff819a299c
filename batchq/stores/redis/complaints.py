"""What a caller is told when the answer is no."""

from __future__ import annotations

from collections.abc import Sequence

from batchq import errors
from batchq.model import Numbering


def replaced(queue: str, queue_id: str | None, life: str | None) -> errors.QueueReplaced:
    """The life that the request speaks to is over."""
    return errors.QueueReplaced(
        f"queue {queue!r} with the id {queue_id!r} is over; "
        "leave out Queue-Id to speak to the current one",
        queue_id=life,
    )


def deleted(queue: str, life: str | None) -> errors.QueueReplaced:
    """The queue was deleted while the call waited."""
    return errors.QueueReplaced(f"queue {queue!r} was deleted", queue_id=life)


def closed(queue: str, life: str | None) -> errors.QueueClosed:
    """No more pushes."""
    return errors.QueueClosed(
        f"queue {queue!r} is closed; push to another queue, or delete this one first",
        queue_id=life,
    )


def stale(numbering: Numbering, epoch: int, life: str | None) -> errors.StaleEpoch:
    """A newer epoch is in force."""
    return errors.StaleEpoch(
        f"epoch {epoch} of producer {numbering.producer!r} is in force, a newer writer than "
        f"epoch {numbering.epoch}; stop, or claim a higher epoch",
        epoch=epoch,
        queue_id=life,
    )


def gap(numbering: Numbering, expected: int, life: str | None) -> errors.SequenceGap:
    """A batch came ahead of its turn."""
    return errors.SequenceGap(
        f"batch {numbering.seq} came, but {expected} is next for producer "
        f"{numbering.producer!r} in epoch {numbering.epoch}; resend from there",
        expected=expected,
        received=numbering.seq,
        queue_id=life,
    )


def lost_batches(numbering: Numbering, expected: int, life: str | None) -> errors.SequenceGap:
    """Redis does not have any more what it had stored."""
    return errors.SequenceGap(
        f"the queue lost batches of producer {numbering.producer!r} that it had stored (its "
        f"Redis failed over to a replica without them); {expected} is next: resend from there, "
        "or begin anew",
        expected=expected,
        received=numbering.seq,
        queue_id=life,
    )


def not_a_close(numbering: Numbering, expected: int, life: str | None) -> errors.SequenceGap:
    """A close bears the number of a batch that is stored."""
    return errors.SequenceGap(
        f"batch {numbering.seq} of producer {numbering.producer!r} is stored and was "
        "not a close; close with the next sequence number",
        expected=expected,
        received=numbering.seq,
        queue_id=life,
    )


def full(queue: str, stored: int, limit: int, life: str | None) -> errors.QueueFull:
    """No room."""
    return errors.QueueFull(
        f"queue {queue!r} holds {stored} of at most {limit} bytes; pull from it, "
        "or push with ?wait=SECONDS to wait for room",
        queue_id=life,
    )


def too_large(size: int, limit: int) -> errors.TooLarge:
    """A batch that never fits."""
    return errors.TooLarge(
        f"the batch has {size} bytes, and a queue holds at most {limit}; "
        "push smaller batches, or raise --max-queue-bytes"
    )


def too_many_producers(limit: int, life: str | None) -> errors.TooManyProducers:
    """As many producers as may be."""
    return errors.TooManyProducers(
        f"the queue knows {limit} producers, as many as --max-producers allows; "
        "reuse a Producer-Id with a higher epoch",
        queue_id=life,
    )


def too_many_leases(queue: str, limit: int, life: str | None) -> errors.TooManyLeases:
    """As many leases as may be."""
    return errors.TooManyLeases(
        f"queue {queue!r} has {limit} leases out, as many as --max-leases allows; "
        "acknowledge some, or take more lines on each",
        queue_id=life,
    )


def totals_differ(
    queue: str, given: int | None, what: str, counted: int, life: str | None
) -> errors.TotalsDiffer:
    """The closer counted otherwise."""
    return errors.TotalsDiffer(
        f"the close counts {given} {what}, queue {queue!r} has {counted}; "
        "it stays open: find out what is missing, or close without totals",
        queue_id=life,
    )


def lost(leases: Sequence[str], life: str | None) -> errors.LeaseLost:
    """Leases that are unknown."""
    return errors.LeaseLost(
        f"not out on lease: {', '.join(leases)}; the lines were acknowledged before, or their "
        "time ran out and they go to another reader",
        lost=tuple(leases),
        queue_id=life,
    )


def not_utf8(offset: int, life: str | None) -> errors.NotAcceptable:
    """The first line can't be given in the form asked for."""
    return errors.NotAcceptable(
        f"the line at offset {offset} is not UTF-8 and can't be given in this form; "
        "ask with Accept: text/plain or application/msgpack",
        queue_id=life,
    )


def no_such_queue(queue: str) -> errors.NoSuchQueue:
    """There is none."""
    return errors.NoSuchQueue(f"there is no queue {queue!r}; a first push creates it")


def shutting_down() -> errors.ShuttingDown:
    """The server is about to end."""
    return errors.ShuttingDown("the server is shutting down; try again")
