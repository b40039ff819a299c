"""Moves one queue from a shard to another: each line once, in order, or nothing of it.

Nothing is acknowledged at the source, which stays as it was until the target has everything;
then it is deleted. So a move that failed, wherever it did, is made again from the beginning:
what the target has of it is deleted first, and known for that by its only producer, who is
named after the life that is moved.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from batchq_client import Client, Numbering, Pulled
from batchq_client.copy.digest import PayloadDigest
from batchq_client.copy.retry import Patience, patiently
from batchq_client.errors import ClientError, LeaseLost, NoSuchQueue, QueueFull, QueueReplaced
from batchq_client.model import QueueStats

_T = TypeVar("_T")

LEASE_WAIT: Final = 120.0
"""Seconds to wait for lines that are out on leases: more than a lease of ``batchq copy``."""

LEASE: Final = 60.0
"""Seconds after which lines are ready again when a move was killed."""

_RETRY_SECONDS: Final = 40.0
_RELEASE_SECONDS: Final = 5.0
_ASKED_EVERY: Final = 0.2
_LEASES_AT_ONCE: Final = 100
"""Ids in one request: they stand in its URL."""

_EPOCH_BITS: Final = 53
_BATCH_BYTES: Final = 1024 * 1024


class MoveError(Exception):
    """A move that can't go on; the text is a sentence. The source has all lines."""


@dataclass(slots=True)
class _Held:
    """The leases on all that was read of the source so far."""

    client: Client
    queue: str
    queue_id: str
    seconds: float
    extended: float
    ids: list[str] = field(default_factory=list)

    async def keep(self) -> None:
        """Extends them when it is time for that. Raises as ``extend``."""
        if asyncio.get_running_loop().time() > self.extended + self.seconds / 4:
            await _patiently(self.extend)

    async def extend(self) -> None:
        """Lets all of them begin anew.

        Raises:
            LeaseLost: one has run out.
        """
        self.extended = asyncio.get_running_loop().time()
        for some in self._groups():
            await self.client.extend(self.queue, some, self.seconds, queue_id=self.queue_id)

    async def release(self) -> None:
        """Gives the lines back, if that is possible at once; else they come when the leases end."""
        with suppress(ClientError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                for some in self._groups():
                    with suppress(LeaseLost):
                        await self.client.release(self.queue, some, queue_id=self.queue_id)

    def _groups(self) -> list[list[str]]:
        starts = range(0, len(self.ids), _LEASES_AT_ONCE)
        return [self.ids[start : start + _LEASES_AT_ONCE] for start in starts]


@dataclass(slots=True)
class _Copied:
    """What the target has been given."""

    queue_id: str
    producer: str
    epoch: int
    batches: int = 1
    lines: int = 0
    bytes: int = 0
    digest: PayloadDigest = field(default_factory=PayloadDigest)

    @property
    def numbering(self) -> Numbering:
        """The number of what comes next."""
        return Numbering(self.producer, self.epoch, self.batches)

    def count(self, batch: Pulled) -> None:
        """Notes a batch that is stored."""
        self.batches += 1
        self.lines += batch.lines
        self.bytes += len(batch.data)
        self.digest.update(batch.data)


async def move(
    queue: str,
    source: Client,
    target: Client,
    *,
    lease: float = LEASE,
    lease_wait: float = LEASE_WAIT,
) -> bool:
    """Moves a queue; nobody else may write or read it at the source or target meanwhile.

    Args:
        queue: its name.
        source: the shard that has it.
        target: the shard that is to have it.
        lease: seconds after which lines are ready again when the move was killed.
        lease_wait: seconds to wait for lines that are out on leases: in the order of the
            lines there is a place for them only when they are back.

    Returns:
        Whether there was such a queue.

    Raises:
        MoveError: it can't be moved as it is.
        CopyError: a shard can't be reached for too long.
        ClientError: a shard refuses.
    """
    try:
        there = await _settled(queue, source, lease_wait)
    except NoSuchQueue:
        return False
    await _cleared(queue, target, _producer(there))
    held = _Held(source, queue, there.queue_id, lease, asyncio.get_running_loop().time())
    try:
        copied = await _copied(there, held, target)
        await _ended(there, copied, target)
        await _unchanged(there, held)
        await _deleted(source, queue, there.queue_id)
    except BaseException:
        await held.release()
        raise
    return True


def _producer(there: QueueStats) -> str:
    return f"batchq-move-{there.queue_id}"


async def _settled(queue: str, source: Client, lease_wait: float) -> QueueStats:
    """Waits until no line is out on a lease."""
    loop = asyncio.get_running_loop()
    end = loop.time() + lease_wait
    while True:
        there = await _patiently(lambda: source.queue(queue))
        if not there.leased_lines:
            return there
        if loop.time() > end:
            raise MoveError(
                f"{there.leased_lines} lines are still out on leases after {lease_wait:g} s: "
                "move it when they are acknowledged or the leases have run out"
            )
        await asyncio.sleep(_ASKED_EVERY)


async def _cleared(queue: str, target: Client, producer: str) -> None:
    """Deletes what a move of the same life left at the target.

    Raises:
        MoveError: the target's queue is, or holds, something else.
    """
    try:
        there = await _patiently(lambda: target.queue(queue))
        ours = await _patiently(lambda: target.producer(queue, producer, queue_id=there.queue_id))
    except NoSuchQueue:
        return
    if ours is None or not there.lines == there.ready_lines == ours.lines:
        raise MoveError(
            f"{target.base_url} has a queue of this name that no move made, or that was used "
            "since: look what it holds, and delete it if it is not needed"
        )
    await _deleted(target, queue, there.queue_id)


async def _copied(there: QueueStats, held: _Held, target: Client) -> _Copied:
    """Reads all lines on leases and stores them in the target, in their order."""
    queue, producer = there.queue, _producer(there)
    # Of two moves at once, one is fenced off by the other's epoch.
    epoch = secrets.randbits(_EPOCH_BITS)
    first = Numbering(producer, epoch, 0)
    begun = await _patiently(lambda: target.push(queue, b"", numbering=first))
    copied = _Copied(begun.queue_id, producer, epoch)
    offset = 0
    while copied.lines < there.ready_lines:
        batch = await _pulled(held)
        if batch.offset < offset:
            raise MoveError("lines came again: the shard was restarted, or too slow")
        offset = batch.offset + batch.lines
        await _pushed(queue, batch, copied, target)
        await held.keep()
    return copied


async def _pulled(held: _Held) -> Pulled:
    lease = secrets.token_hex(8)
    held.ids.append(lease)
    got = await _patiently(
        lambda: held.client.pull(
            held.queue,
            max_bytes=_BATCH_BYTES,
            wait=0.0,
            lease=held.seconds,
            lease_id=lease,
            queue_id=held.queue_id,
        )
    )
    if not isinstance(got, Pulled):
        raise MoveError("somebody else reads it: are its calls held?")
    return got


async def _pushed(queue: str, batch: Pulled, copied: _Copied, target: Client) -> None:
    async def once() -> None:
        try:
            await target.push(
                queue, batch.data, numbering=copied.numbering, queue_id=copied.queue_id
            )
        except QueueFull as error:  # nobody makes room
            raise MoveError(f"{target.base_url} has no room for it: {error}") from None

    await _patiently(once)
    copied.count(batch)


async def _ended(there: QueueStats, copied: _Copied, target: Client) -> None:
    """Closes the target if the source is closed, and compares what they hold."""
    if (copied.lines, copied.bytes) != (there.ready_lines, there.ready_bytes):
        raise MoveError("somebody else wrote to it: are its calls held?")
    if there.closed:
        await _closed(there, copied, target)
    now = await _patiently(lambda: target.queue(there.queue, queue_id=copied.queue_id))
    if (now.lines, now.bytes, now.ready_lines) != (copied.lines, copied.bytes, copied.lines):
        raise MoveError(f"somebody else uses it at {target.base_url}")


async def _closed(there: QueueStats, copied: _Copied, target: Client) -> None:
    unterminated = there.unterminated and copied.lines > 0
    digest = there.digest if there.lines == copied.lines else None
    if digest not in (None, copied.digest.text(unterminated=unterminated)):
        raise MoveError("its lines are not those that its writer gave the digest of")
    await _patiently(
        lambda: target.close(
            there.queue,
            lines=copied.lines,
            total_bytes=copied.bytes,
            digest=digest,
            unterminated=unterminated,
            numbering=copied.numbering,
            queue_id=copied.queue_id,
        )
    )


async def _unchanged(there: QueueStats, held: _Held) -> None:
    """Makes sure that the lines are held still, and that none came."""
    await _patiently(held.extend)
    now = await _patiently(lambda: held.client.queue(there.queue, queue_id=there.queue_id))
    if (now.lines, now.closed, now.ready_lines) != (there.lines, there.closed, 0):
        raise MoveError("somebody else wrote to it: are its calls held?")


async def _deleted(client: Client, queue: str, queue_id: str) -> None:
    """Deletes a life; where an answer was lost, another try finds it gone."""
    tried = False

    async def once() -> None:
        nonlocal tried
        try:
            await client.delete(queue, queue_id=queue_id)
        except (NoSuchQueue, QueueReplaced):
            if not tried:
                raise
        except ClientError:
            tried = True
            raise

    await _patiently(once)


async def _patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    return await patiently(Patience(_RETRY_SECONDS), call)
