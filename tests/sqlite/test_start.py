"""What a start reads: of each queue a little, and of what they hold nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlite.sqlite_support import opened, push, tidied

from batchq.model import KIB, MIB
from batchq.stores.sqlite import SqliteStore

_QUEUES = 10_000


def _bytes_read() -> int:
    """What this process has read so far, of files that are cached too."""
    rows = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(rows["rchar"])


async def _start(path: Path) -> int:
    """Starts a store; gives the bytes that it reads for that."""
    store = SqliteStore(path)
    before = _bytes_read()
    await store.start()
    try:
        return _bytes_read() - before
    finally:
        assert len(await store.queues()) == _QUEUES
        await store.stop()


async def _fill(store: SqliteStore, block: bytes, count: int) -> None:
    for first in range(0, count, 100):
        names = [f"q{n}" for n in range(first, min(first + 100, count))]
        await asyncio.gather(*(push(store, block, name) for name in names))


@pytest.mark.parametrize(("block", "count"), [(16 * KIB, 8000), (MIB, 200)])
async def test_the_work_does_not_grow_with_the_backlog(path: Path, block: int, count: int) -> None:
    """Ten thousand queues, before and after they are given lines: in the database, beside it."""
    async with opened(path) as store:
        await _fill(store, b"a line\n", _QUEUES)
    before = await _start(path)
    assert before < _QUEUES * KIB
    async with opened(path) as store:
        await _fill(store, b"x" * (block - 1) + b"\n", count)
        await tidied(store)
    after = await _start(path)
    assert after - before < block * count / 1000
