"""Lines out of a queue, in order, by several pulls at once.

One pull waits for lines; while the queue has more of them ready, others that don't wait
fetch along with it. So an idle reader costs the server one pull, and a busy one keeps the
connection full.

The pulls are without a lease: lines are gone from the queue when they are sent. A pull
whose answer was lost may have taken lines, and the copy then fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from batchq_client.client import Client
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.order import Reorder
from batchq_client.copy.outcome import CopyError
from batchq_client.copy.retry import Patience
from batchq_client.errors import ClientError, OutcomeUnknown
from batchq_client.model import End, Nothing, Pulled

Answer = Pulled | Nothing | End
Deliver = Callable[[Pulled], Awaitable[None]]

_EARLY: Final = 0.9
"""A pull for nothing that took less than this part of its wait (or of a second, as servers cut
long waits) was not waited for: the server is about to end."""

_EARLY_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Pull:
    """A pull that is under way: its number, whether it waits, and when it was sent."""

    number: int
    waits: bool
    sent: float


class QueueReader:
    """Reads one queue to its end.

    Args:
        client: of the queue's server.
        queue: its name.
        options: batch size, pulls in flight, waiting.

    Attributes:
        queue_id: the life that is read, from the first answer on.
        lines: lines that were delivered.
        bytes: payload bytes that were delivered.
        end: the queue's totals, once they were told.
    """

    def __init__(self, client: Client, queue: str, options: CopyOptions) -> None:
        self._client = client
        self._queue = queue
        self._options = options
        self._patience = Patience(options.retry_for)
        self._order = Reorder()
        self._under_way: dict[asyncio.Task[Answer], _Pull] = {}
        self._issued = 0
        self._wanted = 1
        self._idle = 0
        self.queue_id: str | None = None
        self.lines = 0
        self.bytes = 0
        self.end: End | None = None

    @property
    def complete(self) -> bool:
        """All lines of a closed queue came to this reader."""
        end = self.end
        return end is not None and (end.lines, end.bytes) == (self.lines, self.bytes)

    @property
    def missing(self) -> int:
        """Lines that went to other readers, as far as is known."""
        return self._order.gaps if self.end is None else self.end.lines - self.lines

    async def run(self, deliver: Deliver) -> None:
        """Delivers batches in order until the end, or until nothing came for long enough.

        Args:
            deliver: takes one batch; what it raises ends the reading.

        Raises:
            CopyError: lines may be lost, or came twice.
            ClientError: the server refuses.
        """
        try:
            while self._go_on():
                self._send_pulls()
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                due = await self._take_answers()
                if self._go_on():
                    self._send_pulls()
                for batch in due:
                    await deliver(batch)
                    self.lines += batch.lines
                    self.bytes += len(batch.data)
        finally:
            await self._cancel()

    def _go_on(self) -> bool:
        """There are answers to wait for, or there is reason to ask again."""
        if self._under_way:
            return True
        return self.end is None and self._idle < self._options.retries

    def _send_pulls(self) -> None:
        if self.end is not None or self._idle >= self._options.retries:
            return
        if not any(pull.waits for pull in self._under_way.values()):
            self._send_pull(waits=True)
        while len(self._under_way) < self._wanted:
            self._send_pull(waits=False)

    def _send_pull(self, *, waits: bool) -> None:
        number, self._issued = self._issued, self._issued + 1
        task = asyncio.create_task(self._pull(self._options.wait if waits else 0.0))
        self._under_way[task] = _Pull(number, waits, asyncio.get_running_loop().time())

    async def _pull(self, wait: float) -> Answer:
        while True:
            try:
                answer = await self._client.pull(
                    self._queue,
                    max_bytes=self._options.batch_bytes,
                    wait=wait,
                    queue_id=self.queue_id,
                )
            except OutcomeUnknown as error:
                raise CopyError(
                    f"a pull from queue {self._queue!r} got no answer, and the lines that it "
                    f"may have taken are lost: {error}"
                ) from error
            except ClientError as error:
                await self._patience.bear(error, repeatable=False)
            else:
                self._patience.restored()
                return answer

    async def _take_answers(self) -> list[Pulled]:
        """Takes the answers that are there; gives the batches that are due."""
        due = []
        for task in [task for task in self._under_way if task.done()]:
            pull = self._under_way.pop(task)
            answer = task.result()
            others = {other.number for other in self._under_way.values()}
            batch = answer if isinstance(answer, Pulled) else None
            if self.queue_id is None:
                self.queue_id = answer.queue_id
            elif answer.queue_id not in (None, self.queue_id):
                raise CopyError(f"queue {self._queue!r} was replaced by another while it was read")
            try:
                due += self._order.answered(pull.number, batch, others)
            except ValueError as error:
                raise CopyError(f"queue {self._queue!r}: {error}") from error
            if batch is not None:
                self._idle = 0
                self._want(batch)
            elif isinstance(answer, End):
                self.end = answer
            else:
                await self._nothing(pull)
        return due

    def _want(self, batch: Pulled) -> None:
        """Decides how many pulls what is ready is worth."""
        more = -(-batch.ready // max(1, batch.lines))
        self._wanted = min(self._options.in_flight, 1 + more)

    async def _nothing(self, pull: _Pull) -> None:
        self._wanted = 1
        if not pull.waits:
            return
        waited = asyncio.get_running_loop().time() - pull.sent
        if waited < _EARLY * min(self._options.wait, 1.0):
            await asyncio.sleep(_EARLY_PAUSE)
        else:
            self._idle += 1

    async def _cancel(self) -> None:
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
