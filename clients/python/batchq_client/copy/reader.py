"""Lines out of a queue, in order, by several pulls at once.

One pull waits for lines; while the queue has more of them ready, others that don't wait
fetch along with it. So an idle reader costs the server one pull, and a busy one keeps the
connection full.

Unless the queue is shared, nothing is delivered and nothing acknowledged behind a gap: what
can't become a whole copy is left in the queue, for one that can.
"""

from __future__ import annotations

import asyncio
from typing import Final

from batchq_client.client import Client
from batchq_client.copy.commits import Commits, Mark, Receiver
from batchq_client.copy.leases import Leases
from batchq_client.copy.options import MIB, CopyOptions
from batchq_client.copy.order import Reorder
from batchq_client.copy.others import Fate, Others
from batchq_client.copy.outcome import INCOMPLETE, CopyError
from batchq_client.copy.pulls import Answer, Pulls
from batchq_client.copy.quiet import Quiet
from batchq_client.copy.retry import Patience
from batchq_client.model import End, Pulled

_HELD_BYTES: Final = 64 * MIB
"""Bytes that are held for lines before them; what comes beyond is given back."""

_HELD_BATCHES: Final = 1000
"""Batches that are: each has a lease, and a server bounds how many may be out."""

_HELD_PAUSE: Final = 0.2
"""Seconds after lines were given back, before the next pull."""

_ASK_AGAIN: Final = 0.5
"""Seconds between questions for lines that are out to others."""


class QueueReader:
    """Reads one queue to its end.

    Args:
        client: of the queue's server.
        queue: its name.
        options: batch size, pulls in flight, waiting.
        resumed: what the destination has already: all lines up to there, maybe none; None
            where it can't tell, and takes what is left in the queue.

    Attributes:
        lines: lines that were delivered.
        bytes: payload bytes that were delivered.
        end: the queue's totals, once they were told.
    """

    def __init__(
        self, client: Client, queue: str, options: CopyOptions, resumed: Mark | None = None
    ) -> None:
        patience = Patience(options.retry_for)
        start = resumed or Mark(None, 0, 0)
        self._queue = queue
        self._shared = options.shared
        self._leases = Leases(client, queue, options.lease, patience)
        self._leases.queue_id = start.queue_id
        self._pulls = Pulls(client, queue, options, self._leases, patience)
        self._others = Others(client, queue, self._leases, patience)
        self._quiet = Quiet(client, options, self._others)
        self._order = Reorder(start.lines, start.bytes, shared=options.shared)
        # What earlier readers of the queue are done with is not missed.
        self._begins_anywhere = resumed is None or options.until_idle
        self.lines = start.lines
        self.bytes = start.bytes
        self.end: End | None = None

    @property
    def queue_id(self) -> str | None:
        """The life that is read, from the first answer on."""
        return self._leases.queue_id

    @property
    def complete(self) -> bool:
        """All lines of a closed queue came to this reader."""
        end = self.end
        return end is not None and (end.lines, end.bytes) == (self.lines, self.bytes)

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
            CopyError: the server can't be reached for too long, lines don't fit together, or
                some went to another reader.
            ClientError: the server refuses.
        """
        commits = Commits(self._leases, receiver, self._mark)
        helpers = {
            asyncio.create_task(commits.when_wanted()),
            asyncio.create_task(self._leases.keep()),
        }
        try:
            while self._go_on():
                self._send_pulls()
                await self._wait(helpers)
                due = await self._take_answers()
                self._send_pulls()
                await self._deliver(due, receiver, commits)
                if self._stuck:
                    await self._look_for_missing(receiver, commits)
            await commits.now()
        except BaseException:
            left = await self._pulls.stop()
            await _end(helpers)
            await self._leases.release_all(*left)
            raise
        finally:
            await self._pulls.stop()
            await _end(helpers)

    def _go_on(self) -> bool:
        """There are answers to wait for, or there is reason to ask again."""
        return bool(self._pulls.tasks or self._order.held) or not self._enough

    @property
    def _enough(self) -> bool:
        return self.end is not None or self._quiet.over

    @property
    def _stuck(self) -> bool:
        """Lines are missing that no pull under way is sure to bring."""
        return self._order.stuck and self._pulls.idle

    def _send_pulls(self) -> None:
        # Behind lines that are missing there is nothing to fetch.
        if not self._enough and not self._order.stuck:
            self._pulls.send()

    async def _wait(self, helpers: set[asyncio.Task[None]]) -> None:
        """Waits for an answer, but not where there is something to find out meanwhile."""
        await asyncio.wait(
            {*self._pulls.tasks, *helpers},
            return_when=asyncio.FIRST_COMPLETED,
            timeout=0 if self._stuck else None,
        )
        for helper in helpers:
            if helper.done():
                helper.result()

    async def _take_answers(self) -> list[Pulled]:
        """Takes the answers that are there; gives the batches that are due."""
        due: list[Pulled] = []
        for pull, answer in self._pulls.answers():
            self._check_life(answer)
            batch = answer if isinstance(answer, Pulled) else None
            if batch is not None:
                self._leases.took(batch)
                if batch.offset < self._order.next_offset:
                    self._others.came_before()
            try:
                due += self._order.answered(pull.number, batch, self._pulls.numbers)
            except ValueError as error:
                raise CopyError(f"queue {self._queue!r}: {error}") from error
            if batch is not None:
                self._quiet.broken()
                self._pulls.want(batch)
            elif isinstance(answer, End):
                self.end = answer
            else:
                self._pulls.wanted = 1
                if pull.waits and not self._order.held:
                    await self._quiet.nothing(pull)
        if self._holds_too_much:
            await self._give_back_last()
        return due

    @property
    def _holds_too_much(self) -> bool:
        held = self._order.held
        return held > _HELD_BATCHES or (held > 1 and self._order.held_bytes > _HELD_BYTES)

    def _check_life(self, answer: Answer) -> None:
        if self.queue_id is None:
            self._leases.queue_id = answer.queue_id
        elif answer.queue_id not in (None, self.queue_id):
            raise CopyError(f"queue {self._queue!r} was replaced by another while it was read")

    async def _give_back_last(self) -> None:
        """Gives lines back that are far ahead of those that are due."""
        self._pulls.wanted = 1
        last = self._order.pop_last()
        if last.lease is not None:
            await self._leases.release([last.lease])
        await asyncio.sleep(_HELD_PAUSE)

    async def _look_for_missing(self, receiver: Receiver, commits: Commits) -> None:
        """Finds out what became of the lines that are due, and goes on by that.

        Raises:
            CopyError: they went to another reader.
        """
        match await self._others.fate():
            case Fate.OUT:
                await asyncio.sleep(_ASK_AGAIN)
            case Fate.READY:
                self._pulls.ask()
            case Fate.GONE if self._begins_anywhere and not self.lines:
                await self._deliver(self._order.skip(), receiver, commits)
            case Fate.GONE:
                await commits.now()
                raise CopyError(self._lack(), INCOMPLETE)

    def _lack(self) -> str:
        gap = self._order.gap
        lines = f"line {gap[0] + 1}"
        if len(gap) > 1:
            lines = f"lines {gap[0] + 1} to {gap[-1] + 1}"
        return (
            f"{lines} of queue {self._queue!r} went to another reader; what comes behind is left "
            "in the queue (--shared takes it)"
        )

    async def _deliver(self, due: list[Pulled], receiver: Receiver, commits: Commits) -> None:
        for batch in due:
            if batch.lines:
                await receiver.deliver(batch)
                self.lines += batch.lines
                self.bytes += len(batch.data)
                self._others.forget()
            commits.delivered(batch)
        commits.want(paused=self._pulls.wanted == 1 or self._order.stuck)

    def _mark(self) -> Mark | None:
        """How far this reader came; None where lines before that are missing."""
        whole = not self._order.gaps and not self._order.late
        return Mark(self.queue_id, self.lines, self.bytes) if whole else None


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
