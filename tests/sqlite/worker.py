"""A process that uses a store and says, line by line, what was answered.

    worker.py PATH run         pushes numbered batches, takes and acknowledges some: see ``ledger``
    worker.py PATH fill        pushes until the disk is full, then drains, then pushes again
    worker.py PATH hog         the same, where something else fills the disk

``BATCHQ_TEST_MIN_FREE`` (bytes) is the reserve, ``BATCHQ_TEST_FSIZE`` limits the files' size,
``BATCHQ_TEST_RELAXED`` has it sync at times, ``BATCHQ_TEST_SMALL`` has all its bounds small.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import resource
import sys
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Literal, TypeVar

from batchq.errors import BatchqError, DiskFull
from batchq.lines import batch_of
from batchq.model import KIB, Limits, Numbering, Pulled, PullRequest, PushRequest
from batchq.stores.sqlite import Options, SqliteStore, segments, spare, upkeep, writer

BATCHES = 12
LINES = 3
SIZE = 70_000
SMALL_SIZE = 9_000


def batch(seq: int) -> bytes:
    """The lines of a batch: known by their number, larger together than a page."""
    return b"".join(b"%d.%d " % (seq, n) + b"x" * SIZE + b"\n" for n in range(LINES))


def mixed(seq: int) -> bytes:
    """A batch of ``run``: each third one is small, and goes to the database itself."""
    size = SIZE if seq % 3 else SMALL_SIZE
    return b"".join(b"%d.%d " % (seq, n) + b"y" * size + b"\n" for n in range(LINES))


def make_small(patch: Callable[[object, str, object], None] = setattr) -> None:
    """Has a store do in a few commits what else takes gigabytes and idle time.

    The WAL is checkpointed every few commits, and starts anew; free pages and segments are given
    back after each, cut off or as holes. Nothing is left to idle moments, so that the calls of
    the system are the same each time.
    """
    patch(upkeep, "_CHECKPOINT_PAGES", 12)
    patch(upkeep, "_TIDY_PAGES", 12)
    patch(upkeep, "_KEEP_FREE", 0)
    patch(upkeep, "_GIVE_BACK_STEP", 1)
    patch(upkeep, "_BUSY_SHARE", 1)
    for module in (segments, spare):
        patch(module, "SEGMENT", 512 * KIB)
    patch(spare, "_KEEP", 0)
    patch(spare, "_LOOK_AFTER", 1)
    patch(spare, "_BUSY_SHARE", 0)
    patch(writer, "_IDLE_SECONDS", 3600.0)


Say = Callable[..., None]
Answer = TypeVar("Answer")


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def run(store: SqliteStore, say: Say = say) -> None:
    """Three pushes, then a batch is taken; in the middle, and but for one batch at the end, all."""
    left = 0
    for seq in range(BATCHES):
        try:
            await _push(store, seq, say)
            left += 1
            takes = {5: left, BATCHES - 1: left - 1}.get(seq, int(seq % 3 == 2))
            for _ in range(takes):
                assert await _take(store, say)
            left -= takes
        except BatchqError as error:
            say("refused", error.code, store.failure() or "-")
            return


async def _push(store: SqliteStore, seq: int, say: Say) -> None:
    request = PushRequest("q", batch_of(mixed(seq)), Numbering("w", 0, seq))
    say("attempted", seq)
    pushed = await _with_room(store, lambda: store.push(request), say)
    say("acknowledged", seq, pushed.offset, pushed.position)


async def _take(store: SqliteStore, say: Say) -> bytes:
    """Takes a batch and acknowledges it; gives its lines, or nothing where there is none."""
    taken = await _pull(store, say)
    if taken is None:
        return b""
    data, lease = taken
    await _with_room(store, lambda: store.ack("q", [lease], None), say)
    say("done", lease)
    return data


async def _pull(store: SqliteStore, say: Say) -> tuple[bytes, str] | None:
    answer = await store.pull(PullRequest("q", max=LINES, lease=60.0, wait=0.0))
    if not isinstance(answer, Pulled):
        return None
    assert answer.lease is not None
    data = base64.b64encode(zlib.compress(answer.data, 1)).decode()
    told = (answer.offset, answer.position, answer.lines, answer.deliveries)
    say("delivered", *told, answer.lease.id, data)
    return answer.data, answer.lease.id


async def _with_room(
    store: SqliteStore, call: Callable[[], Coroutine[None, None, Answer]], say: Say
) -> Answer:
    """Calls again, once, where there was no room on the disk."""
    try:
        return await call()
    except DiskFull as error:
        say("refused", error.code, store.failure() or "-")
        return await call()


async def fill(store: SqliteStore) -> None:
    await _drain(store, await _push_all(store, 0))


async def hog(store: SqliteStore) -> None:
    """Another file takes all of the disk; then it goes away."""
    for seq in range(5):
        await _push_full(store, seq)
    other = Path(store.path).with_name("hog")
    with contextlib.suppress(OSError), other.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    seq = await _push_all(store, 5)
    taken = await _pull(store, say)
    assert taken is not None
    for attempt in range(2):
        try:
            await store.ack("q", [taken[1]], None)
            say("acked", attempt)
            say("done", taken[1])
            break
        except DiskFull:
            other.unlink()
    other.unlink(missing_ok=True)
    await _drain(store, seq)


async def _push_full(store: SqliteStore, seq: int) -> None:
    say("attempted", seq)
    pushed = await store.push(PushRequest("q", batch_of(batch(seq)), Numbering("w", 0, seq)))
    say("acknowledged", seq, pushed.offset, pushed.position)


async def _push_all(store: SqliteStore, seq: int) -> int:
    try:
        while True:
            await _push_full(store, seq)
            seq += 1
    except DiskFull as error:
        say("full", seq, error.code, store.failure() or "-")
    return seq


async def _drain(store: SqliteStore, seq: int) -> None:
    """Takes all that there is; then there is room for more."""
    size = 0
    while data := await _take(store, say):
        size += len(data)
    say("drained", size)
    for more in range(seq, seq + max(seq // 2, 1)):
        await _push_full(store, more)
    say("again", (await store.stats("q", None)).ready_lines)


async def rest(store: SqliteStore) -> None:
    """Takes what is left."""
    while await _take(store, say):
        pass


async def main(path: str, what: str) -> None:
    limit = int(os.environ.get("BATCHQ_TEST_FSIZE", "-1"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    fsync: Literal["always", "interval"] = "always"
    if "BATCHQ_TEST_RELAXED" in os.environ:
        fsync = "interval"
    if "BATCHQ_TEST_SMALL" in os.environ:
        make_small()
    seconds = float(os.environ.get("BATCHQ_TEST_RELAXED") or 1.0)
    options = Options(fsync, seconds, min_free=int(os.environ.get("BATCHQ_TEST_MIN_FREE", "0")))
    await _use(path, options, {"run": run, "fill": fill, "hog": hog}[what])
    if what != "run":
        await _use(path, options, rest)


async def _use(
    path: str, options: Options, what: Callable[[SqliteStore], Coroutine[None, None, None]]
) -> None:
    store = SqliteStore(path, Limits(), options)
    try:
        await store.start()
        say("started")
        await what(store)
    except BatchqError as error:
        say("refused", error.code, store.failure() or "-")
    await store.stop()
    say("stopped")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
