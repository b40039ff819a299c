"""Lines out of a queue, in order, by several pulls at once.

One pull waits for lines; while the queue has more of them ready, others that don't wait
fetch along with it. So an idle reader costs the server one pull, and a busy one keeps the
connection full.

Every pull is leased under an id of the reader's own: a pull without an answer is sent again
with the same id, and gets the same lines. Lines are acknowledged in groups, once they are
safe at the destination.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from batchq_client.client import Client
from batchq_client.copy.leases import Leases
from batchq_client.copy.options import MIB, CopyOptions
from batchq_client.copy.order import Reorder
from batchq_client.copy.outcome import CopyError, QueueGone
from batchq_client.copy.retry import Patience, is_passing
from batchq_client.errors import ClientError, NetworkFault, QueueReplaced
from batchq_client.model import End, Nothing, Pulled

Answer = Pulled | Nothing | End

_EARLY: Final = 0.9
"""A pull for nothing that took less than this part of its wait, or of the longest that the
server allows, was not waited for: the server is about to end."""

_UNTOLD_WAIT: Final = 1.0
"""Seconds that a server lets a pull wait at the least, where it does not tell its limit."""

_PAUSE: Final = 0.5
"""Seconds between pulls for nothing that the server did not let wait."""

_GROUP_BYTES: Final = 32 * MIB
"""Bytes that are made safe and acknowledged together, while lines come without a pause."""

_HELD_BYTES: Final = 64 * MIB
"""Bytes that are held for lines before them; what comes beyond is given back."""

_HELD_PAUSE: Final = 0.2

_COMMIT_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a reader came: the first lines of a queue's life.

    Attributes:
        queue_id: the life.
        lines: lines from its beginning.
        bytes: their payload bytes.
    """

    queue_id: str | None
    lines: int
    bytes: int


class Receiver(Protocol):
    """Where a reader's lines go."""

    async def deliver(self, batch: Pulled) -> None:
        """Takes the lines that come next."""

    async def secure(self, mark: Mark | None) -> None:
        """Makes all that was delivered safe, as far as the destination can.

        Args:
            mark: what that is; None where lines before it are missing.
        """

    async def acknowledged(self) -> None:
        """The server knows that these lines are safe."""


@dataclass(frozen=True, slots=True)
class _Pull:
    """A pull that is under way: its number, whether it waits, when it was sent, its lease."""

    number: int
    waits: bool
    sent: float
    lease: str


class QueueReader:
    """Reads one queue to its end.

    Args:
        client: of the queue's server.
        queue: its name.
        options: batch size, pulls in flight, waiting.
        resumed: what an earlier reader had, whose work goes on here.

    Attributes:
        queue_id: the life that is read, from the first answer on.
        lines: lines that were delivered.
        bytes: payload bytes that were delivered.
        end: the queue's totals, once they were told.
    """

    def __init__(
        self, client: Client, queue: str, options: CopyOptions, resumed: Mark | None = None
    ) -> None:
        self._client = client
        self._queue = queue
        self._options = options
        self._patience = Patience(options.retry_for)
        self._leases = Leases(client, queue, options.lease, self._patience)
        start = resumed or Mark(None, 0, 0)
        self._order = Reorder(start.lines, start.bytes, shared=options.shared)
        # Lines that were out to the earlier reader come again when its leases run out.
        self._order.patient = options.resume
        self._under_way: dict[asyncio.Task[Answer], _Pull] = {}
        self._spare: list[str] = []
        self._issued = 0
        self._wanted = 1
        self._idle = 0
        self._max_wait = inf
        self._progressed = 0.0
        self._pending: list[str] = []
        self._pending_bytes = 0
        self._kick = asyncio.Event()
        self._committing = asyncio.Lock()
        self._leases.queue_id = start.queue_id
        self.lines = start.lines
        self.bytes = start.bytes
        self.end: End | None = None

    @property
    def queue_id(self) -> str | None:
        """The life that is read, once it is known."""
        return self._leases.queue_id

    @property
    def complete(self) -> bool:
        """All lines of a closed queue came to this reader."""
        end = self.end
        return end is not None and (end.lines, end.bytes) == (self.lines, self.bytes)

    @property
    def missing(self) -> int:
        """Lines that went to other readers, as far as is known."""
        return self._order.gaps if self.end is None else self.end.lines - self.lines

    @property
    def late(self) -> int:
        """Lines that another reader gave back, and that came after later ones."""
        return self._order.late

    async def run(self, receiver: Receiver) -> None:
        """Delivers batches in order until the end, or until nothing came for long enough.

        All that was delivered is safe and acknowledged when this returns. When it fails, what
        was not acknowledged is given back.

        Args:
            receiver: takes the batches; what it raises ends the reading.

        Raises:
            CopyError: the server can't be reached for too long, or lines don't fit together.
            ClientError: the server refuses.
        """
        self._progressed = asyncio.get_running_loop().time()
        helpers = {
            asyncio.create_task(self._commit_on_demand(receiver)),
            asyncio.create_task(self._leases.keep()),
        }
        try:
            while self._go_on():
                self._send_pulls()
                await asyncio.wait(
                    {*self._under_way, *helpers}, return_when=asyncio.FIRST_COMPLETED
                )
                for helper in helpers:
                    if helper.done():
                        helper.result()
                due = await self._take_answers()
                if self._go_on():
                    self._send_pulls()
                await self._deliver(due, receiver)
            await self._deliver(self._order.give_up(), receiver)
            await self._commit(receiver)
        except BaseException:
            left = [pull.lease for pull in self._under_way.values()]
            await self._cancel(set(self._under_way) | helpers)
            await self._leases.release_all(*left, *self._spare)
            raise
        finally:
            await self._cancel(set(self._under_way) | helpers)

    def _go_on(self) -> bool:
        """There are answers to wait for, or there is reason to ask again."""
        if self._under_way:
            return True
        return self.end is None and self._idle < self._options.retries

    # Pulling

    def _send_pulls(self) -> None:
        if self.end is not None or self._idle >= self._options.retries:
            return
        if not any(pull.waits for pull in self._under_way.values()):
            self._send_pull(waits=True)
        while len(self._under_way) < self._wanted:
            self._send_pull(waits=False)

    def _send_pull(self, *, waits: bool) -> None:
        number, self._issued = self._issued, self._issued + 1
        lease = self._spare.pop() if self._spare else self._leases.new_id()
        task = asyncio.create_task(self._pull(self._options.wait if waits else 0.0, lease))
        self._under_way[task] = _Pull(number, waits, asyncio.get_running_loop().time(), lease)

    async def _pull(self, wait: float, lease: str) -> Answer:
        while True:
            try:
                answer = await self._client.pull(
                    self._queue,
                    max_bytes=self._options.batch_bytes,
                    wait=wait,
                    lease=self._leases.seconds,
                    lease_id=lease,
                    queue_id=self.queue_id,
                )
            except QueueReplaced as error:
                raise QueueGone(self._queue, "read from") from error
            except ClientError as error:
                # From now on a lease may have run out, or a server forgotten it.
                self._order.patient = self._order.patient or isinstance(error, NetworkFault)
                await self._patience.bear(error, repeatable=True)
            else:
                self._patience.restored()
                return answer

    async def _take_answers(self) -> list[Pulled]:
        """Takes the answers that are there; gives the batches that are due."""
        due: list[Pulled] = []
        for task in [task for task in self._under_way if task.done()]:
            pull = self._under_way.pop(task)
            answer = task.result()
            self._check_life(answer)
            others = {other.number for other in self._under_way.values()}
            batch = answer if isinstance(answer, Pulled) else None
            if batch is not None:
                self._leases.took(batch)
            else:
                # A try without an answer may still wait at the server with this id: the
                # next pull asks for the same lines.
                self._spare.append(pull.lease)
            self._order.patient = self._order.patient or self._leases.ran_out
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
                due += await self._nothing(pull)
        if self._order.held_bytes > _HELD_BYTES:
            await self._give_back_last()
        return due

    def _check_life(self, answer: Answer) -> None:
        if self.queue_id is None:
            self._leases.queue_id = answer.queue_id
        elif answer.queue_id not in (None, self.queue_id):
            raise CopyError(f"queue {self._queue!r} was replaced by another while it was read")

    async def _give_back_last(self) -> None:
        """Gives lines back that are far ahead of those that are due."""
        self._wanted = 1
        last = self._order.pop_last()
        if last.lease is not None:
            await self._leases.release([last.lease])
        await asyncio.sleep(_HELD_PAUSE)

    def _want(self, batch: Pulled) -> None:
        """Decides how many pulls what is ready is worth."""
        more = -(-batch.ready // max(1, batch.lines))
        self._wanted = min(self._options.in_flight, 1 + more)

    async def _nothing(self, pull: _Pull) -> list[Pulled]:
        """Decides what a pull for nothing means; gives batches whose gap it made final."""
        self._wanted = 1
        if not pull.waits:
            return []
        now = asyncio.get_running_loop().time()
        waited = now - pull.sent
        if waited < await self._full_wait(waited):
            await asyncio.sleep(_PAUSE)
            return []
        # Where the server lets nobody wait for long, the reader does not ask on and on.
        await asyncio.sleep(max(0.0, min(self._options.wait, _PAUSE) - waited))
        patience = self._leases.seconds + self._options.wait
        if now - self._progressed < patience and await self._is_out_elsewhere():
            return []
        if self._order.held:
            return self._order.give_up()
        self._idle += 1
        return []

    async def _full_wait(self, waited: float) -> float:
        """Seconds from which on a pull for nothing was waited for.

        The server is asked for its limit when it cut the wait of ``waited`` seconds short.
        """
        wait = self._options.wait
        if waited < _EARLY * min(wait, self._max_wait):
            try:
                told = (await self._client.healthz()).max_wait
            except ClientError as error:
                # It is about to end, or to come back, and will tell another time.
                if is_passing(error, repeatable=True):
                    return inf
                told = None
            self._max_wait = _UNTOLD_WAIT if told is None else told
        return _EARLY * min(wait, self._max_wait)

    async def _is_out_elsewhere(self) -> bool:
        """Lines are out to somebody else, maybe a reader that died: they may come again."""
        try:
            stats = await self._client.queue(self._queue, queue_id=self.queue_id)
        except ClientError:
            return False
        return stats.ready_lines > 0 or stats.leased_lines > self._leases.lines

    # Delivering and acknowledging

    async def _deliver(self, due: list[Pulled], receiver: Receiver) -> None:
        for batch in due:
            if batch.lines:
                await receiver.deliver(batch)
                self.lines += batch.lines
                self.bytes += len(batch.data)
                self._progressed = asyncio.get_running_loop().time()
            if batch.lease is not None:
                self._pending.append(batch.lease)
            self._pending_bytes += len(batch.data)
        if self._pending and (self._wanted == 1 or self._pending_bytes >= _GROUP_BYTES):
            self._kick.set()

    async def _commit_on_demand(self, receiver: Receiver) -> None:
        """Commits when that is asked for, and at the latest after a part of the leases' time."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._leases.seconds / 4):
                    await self._kick.wait()
            self._kick.clear()
            began = loop.time()
            await self._commit(receiver)
            # What comes meanwhile goes together: at most half of the time is spent here.
            await asyncio.sleep(min(loop.time() - began, _COMMIT_PAUSE))

    async def _commit(self, receiver: Receiver) -> None:
        """Makes safe what was delivered, then acknowledges it."""
        async with self._committing:
            if not self._pending:
                return
            leases, self._pending, self._pending_bytes = self._pending, [], 0
            whole = not self._order.gaps and not self._order.late
            mark = Mark(self.queue_id, self.lines, self.bytes) if whole else None
            await receiver.secure(mark)
            await self._leases.ack(leases)
            await receiver.acknowledged()

    @staticmethod
    async def _cancel(tasks: set[asyncio.Task[Answer] | asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
