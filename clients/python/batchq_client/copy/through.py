"""A local copy through a queue: the writer and the reader at once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import asdict, replace
from typing import Any

from batchq_client.client import Client
from batchq_client.copy.addresses import LocalAddress, QueueAddress
from batchq_client.copy.jobs import read_queue, write_queue
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import Progress, Summary


async def copy_through(
    base_url: str,
    source: LocalAddress,
    destination: LocalAddress,
    options: CopyOptions,
    progress: Progress,
    summary: Summary,
) -> None:
    """Copies a local source to a local destination through a server that is there for it alone.

    Args:
        base_url: the server's.
        source: where from.
        destination: where to.
        options: as for the two sides; the queue is always closed and read to its end.
        progress: counts what is written to the destination.
        summary: told what was done, and what the server counted.

    Raises:
        CopyError: one side failed; the other was stopped.
        ClientError: the same, as the server said it.
    """
    queue = QueueAddress(base_url, f"copy-{secrets.token_hex(8)}")
    both = replace(options, keep_open=False, until_idle=False, shared=False, state_dir=None)
    # The writer may take its time: as long as it lives, the reader waits.
    patient = replace(both, retries=2**31)
    written = Summary(summary.source, str(queue))
    await _both(
        write_queue(source, queue, both, _Feeding(progress), written, local=True),
        read_queue(queue, destination, patient, progress, summary),
    )
    summary.warnings += written.warnings
    async with Client(base_url) as client:
        stats = await client.queue(queue.queue, queue_id=summary.queue_id)
    summary.server = {"url": base_url, **asdict(stats)}


class _Feeding(Progress):
    """The writer's progress: the copy's is the reader's, and only the size is the writer's to know.

    Args:
        shown: the copy's, which is told the size and the warnings.
    """

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        super().__init__(total_bytes=shown.total_bytes, warnings=shown.warnings)

    @property
    def total_bytes(self) -> int | None:
        """How many bytes there will be, where that is known."""
        return self._shown.total_bytes

    @total_bytes.setter
    def total_bytes(self, size: int | None) -> None:
        self._shown.total_bytes = size


async def _both(writing: Coroutine[Any, Any, None], reading: Coroutine[Any, Any, None]) -> None:
    """Runs both sides; when one fails, the other is stopped and its end waited for."""
    tasks = [asyncio.create_task(writing), asyncio.create_task(reading)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError as error:
        for note in await _stopped(tasks):
            error.add_note(note)
        raise
    notes = await _stopped(tasks)
    # Both have ended: the first that failed of itself says why.
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            for note in notes:
                failure.add_note(note)
            raise failure


async def _stopped(tasks: list[asyncio.Task[None]]) -> list[str]:
    """Stops both sides and waits for their end; gives what those that were stopped had to say."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    notes: list[str] = []
    for task in tasks:
        try:
            await task
        except asyncio.CancelledError as error:
            notes += getattr(error, "__notes__", ())
        except Exception:  # noqa: BLE001, S112  it is raised by whoever asked
            continue
    return notes
