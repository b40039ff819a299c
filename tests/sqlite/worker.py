"""A process that uses a store and says, line by line, what was answered.

    worker.py PATH run         pushes numbered batches, takes and acknowledges some
    worker.py PATH fill        pushes until the disk is full, then drains, then pushes again
    worker.py PATH hog         the same, where something else fills the disk

``BATCHQ_TEST_MIN_FREE`` (bytes) is the reserve, ``BATCHQ_TEST_FSIZE`` limits the files' size,
``BATCHQ_TEST_RELAXED`` has it sync at times.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import Literal

from batchq.errors import BatchqError, DiskFull
from batchq.lines import batch_of
from batchq.model import Limits, Numbering, Pulled, PullRequest, PushRequest
from batchq.stores.sqlite import Options, SqliteStore

BATCHES = 12
LINES = 3
SIZE = 70_000


def batch(seq: int) -> bytes:
    """The lines of a batch: known by their number, larger together than a page."""
    return b"".join(b"%d.%d " % (seq, n) + b"x" * SIZE + b"\n" for n in range(LINES))


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def run(store: SqliteStore) -> None:
    for seq in range(BATCHES):
        try:
            await store.push(PushRequest("q", batch_of(batch(seq)), Numbering("w", 0, seq)))
            say("pushed", seq)
            if seq % 3 == 2:
                await _take(store)
        except BatchqError as error:
            say("refused", error.code, store.failure() or "-")
            if isinstance(error, DiskFull):
                await store.push(PushRequest("q", batch_of(batch(seq)), Numbering("w", 0, seq)))
                say("pushed", seq)
                continue
            return


async def _take(store: SqliteStore) -> None:
    answer = await store.pull(PullRequest("q", max=LINES, lease=60.0, wait=0.0))
    assert isinstance(answer, Pulled)
    assert answer.lease is not None
    say("acking", answer.offset, answer.lines)
    await store.ack("q", [answer.lease.id], None)
    say("acked", answer.offset, answer.lines)


async def fill(store: SqliteStore) -> None:
    await _drain(store, await _push_all(store, 0))


async def hog(store: SqliteStore) -> None:
    """Another file takes all of the disk; then it goes away."""
    for seq in range(5):
        await store.push(PushRequest("q", batch_of(batch(seq)), Numbering("w", 0, seq)))
    other = Path(store.path).with_name("hog")
    with contextlib.suppress(OSError), other.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    seq = await _push_all(store, 5)
    answer = await store.pull(PullRequest("q", max=LINES, lease=60.0))
    assert isinstance(answer, Pulled)
    assert answer.lease is not None
    for attempt in range(2):
        try:
            await store.ack("q", [answer.lease.id], None)
            say("acked", attempt)
            break
        except DiskFull:
            other.unlink()
    other.unlink(missing_ok=True)
    await _drain(store, seq, first=1)


async def _push_all(store: SqliteStore, seq: int) -> int:
    try:
        while True:
            await store.push(PushRequest("q", batch_of(batch(seq)), Numbering("w", 0, seq)))
            seq += 1
    except DiskFull as error:
        say("full", seq, error.code, store.failure() or "-")
    return seq


async def _drain(store: SqliteStore, seq: int, first: int = 0) -> None:
    size = 0
    for taken in range(first, seq):
        answer = await store.pull(PullRequest("q", max=LINES, max_bytes=1 << 30, lease=60.0))
        assert isinstance(answer, Pulled)
        assert answer.lease is not None
        assert answer.data == batch(taken)
        await store.ack("q", [answer.lease.id], None)
        size += len(answer.data)
    say("drained", size)
    for more in range(seq, seq + max(seq // 2, 1)):
        await store.push(PushRequest("q", batch_of(batch(more)), Numbering("w", 0, more)))
    say("again", (await store.stats("q", None)).ready_lines)


async def main(path: str, what: str) -> None:
    limit = int(os.environ.get("BATCHQ_TEST_FSIZE", "-1"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    fsync: Literal["always", "interval"] = "always"
    if "BATCHQ_TEST_RELAXED" in os.environ:
        fsync = "interval"
    options = Options(fsync, min_free=int(os.environ.get("BATCHQ_TEST_MIN_FREE", "0")))
    store = SqliteStore(path, Limits(), options)
    try:
        await store.start()
        say("started")
        await {"run": run, "fill": fill, "hog": hog}[what](store)
    except BatchqError as error:
        say("refused", error.code, store.failure() or "-")
    await store.stop()
    say("stopped")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
