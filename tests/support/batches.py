"""Bodies and batches, without a server between the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from batchq import formats
from batchq.formats import Form, Steps
from batchq.model import Batch, Lease, Pulled

_T = TypeVar("_T")


def result_of(steps: Steps[_T]) -> _T:
    """Runs all steps, and gives what they come to."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("_T", done.value)


def batch_from(pieces: Sequence[bytes], kind: str, coding: str = "") -> Batch:
    """What a pushed body means."""
    formats.check_type(kind, coding)
    return result_of(formats.batch_from(pieces, kind))


def body_of(pulled: Pulled, form: Form) -> bytes:
    """How a pulled batch is written."""
    return result_of(formats.body_of(pulled, form))


def pulled(data: bytes, lease: Lease | None = None) -> Pulled:
    """A batch for a reader."""
    return Pulled("id", 7, 99, data.count(b"\n"), data, 0, 1, lease)
