"""The pulls of one reader that are under way.

Each is leased under an id of the reader's own, so that it may be sent again and gets the
same lines.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from batchq_client.client import Client
from batchq_client.copy.leases import Leases
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import QueueGone
from batchq_client.copy.retry import Patience
from batchq_client.errors import ClientError, QueueReplaced
from batchq_client.model import End, Nothing, Pulled

Answer = Pulled | Nothing | End


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull: its number, whether it waits, when it was sent, its lease."""

    number: int
    waits: bool
    sent: float
    lease: str


class Pulls:
    """Sends pulls, and gives their answers.

    Args:
        client: of the queue's server.
        queue: its name.
        options: batch size, waiting.
        leases: makes ids, and knows the life that is read.
        patience: with faults.

    Attributes:
        wanted: how many are to be under way at once.
    """

    def __init__(
        self,
        client: Client,
        queue: str,
        options: CopyOptions,
        leases: Leases,
        patience: Patience,
    ) -> None:
        self._client = client
        self._queue = queue
        self._options = options
        self._leases = leases
        self._patience = patience
        self._under_way: dict[asyncio.Task[Answer], Pull] = {}
        self._spare: deque[str] = deque()
        self._issued = 0
        self.wanted = 1

    @property
    def tasks(self) -> set[asyncio.Task[Answer]]:
        """Those that are under way."""
        return set(self._under_way)

    @property
    def numbers(self) -> set[int]:
        """Their numbers."""
        return {pull.number for pull in self._under_way.values()}

    @property
    def idle(self) -> bool:
        """None is under way but such as wait."""
        return all(pull.waits for pull in self._under_way.values())

    def send(self) -> None:
        """Sends as many as are wanted: one waits for lines, the others fetch what is ready."""
        if not any(pull.waits for pull in self._under_way.values()):
            self._send(waits=True)
        while len(self._under_way) < self.wanted:
            self._send(waits=False)

    def ask(self) -> None:
        """Sends one that does not wait."""
        self._send(waits=False)

    def want(self, batch: Pulled) -> None:
        """Decides how many pulls what is ready behind a batch is worth."""
        more = -(-batch.ready // max(1, batch.lines))
        self.wanted = min(self._options.in_flight, 1 + more)

    def answers(self) -> Iterator[tuple[Pull, Answer]]:
        """Gives the answers that are there.

        Raises:
            CopyError: one was not answered for too long, or the queue's life is over.
            ClientError: the server refused one.
        """
        for task in [task for task in self._under_way if task.done()]:
            pull = self._under_way.pop(task)
            answer = task.result()
            if not isinstance(answer, Pulled):
                # A try without an answer may still wait at the server with this id, or have
                # taken lines: a later pull asks for the same ones. The oldest goes first, so
                # that none is left out.
                self._spare.append(pull.lease)
            yield pull, answer

    async def stop(self) -> list[str]:
        """Ends all; gives the ids under which the server may have given lines unnoticed."""
        left = [pull.lease for pull in self._under_way.values()]
        tasks = self.tasks
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._under_way.clear()
        return [*left, *self._spare]

    def _send(self, *, waits: bool) -> None:
        number, self._issued = self._issued, self._issued + 1
        lease = self._spare.popleft() if self._spare else self._leases.new_id()
        task = asyncio.create_task(self._pull(self._options.wait if waits else 0.0, lease))
        self._under_way[task] = Pull(number, waits, asyncio.get_running_loop().time(), lease)

    async def _pull(self, wait: float, lease: str) -> Answer:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + wait
            try:
                answer = await self._client.pull(
                    self._queue,
                    max_bytes=self._options.batch_bytes,
                    wait=wait,
                    lease=self._leases.seconds,
                    lease_id=lease,
                    queue_id=self._leases.queue_id,
                )
            except QueueReplaced as error:
                raise QueueGone(self._queue, "read from") from error
            except ClientError as error:
                await self._patience.bear(error, repeatable=True, due=due, waits=wait > 0)
            else:
                self._patience.restored()
                return answer
