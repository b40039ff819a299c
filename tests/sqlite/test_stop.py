"""The end of a store while its disk is full, or after it has failed."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest
from sqlite.sqlite_support import opened, pull_all, push, tidied

from batchq.errors import DiskFull, StoreUnavailable
from batchq.stores.sqlite import SqliteStore
from batchq.stores.sqlite.errors import Corrupt
from batchq.stores.sqlite.garbage import Budget
from batchq.stores.sqlite.transaction import Transaction

_LINE = b"x" * 1023 + b"\n"
_SECONDS = 20.0


class _Disk:
    """Stands before each transaction: some are held there, and find no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.only_garbage = False
        self._reached = threading.Event()
        self._go_on = threading.Event()
        collect = Transaction.collect

        def collected(transaction: Transaction, budget: Budget) -> None:
            if self.full and (transaction._rows.garbage or not self.only_garbage):
                self._reached.set()
                assert self._go_on.wait(_SECONDS)
                if self.full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            collect(transaction, budget)

        monkeypatch.setattr(Transaction, "collect", collected)

    async def held(self) -> None:
        """Returns when a transaction is held."""
        assert await asyncio.to_thread(self._reached.wait, _SECONDS)

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> _Disk:
    return _Disk(monkeypatch)


async def _stopped(store: SqliteStore, disk: _Disk) -> None:
    """Stops a store whose writer is held in a transaction."""
    stopping = asyncio.create_task(store.stop())
    await asyncio.sleep(0)
    disk.go_on()
    await asyncio.wait_for(stopping, _SECONDS)


async def test_stopped_while_a_deleted_queue_finds_no_room_to_go(path: Path, disk: _Disk) -> None:
    store = SqliteStore(path)
    await store.start()
    await push(store, _LINE)
    disk.full = disk.only_garbage = True
    await store.delete("q", None)
    await disk.held()
    await _stopped(store, disk)
    disk.full = False
    async with opened(path) as store:
        await tidied(store)
        assert await pull_all(store) == b""


async def test_calls_are_not_refused_for_what_a_deleted_queue_leaves(
    path: Path, disk: _Disk
) -> None:
    async with opened(path) as store:
        await push(store, _LINE)
        await push(store, _LINE, "other")
        disk.full = disk.only_garbage = True
        await store.delete("q", None)
        await disk.held()
        pulling = asyncio.create_task(pull_all(store, "other"))
        await asyncio.sleep(0)
        disk.go_on()
        assert await pulling == _LINE


async def test_stopped_after_a_failure_while_the_disk_is_full(path: Path, disk: _Disk) -> None:
    store = SqliteStore(path)
    await store.start()
    disk.full = True
    pushing = asyncio.create_task(push(store, _LINE))
    await disk.held()
    store._fail(Corrupt("as a reader of the file would find"))
    with pytest.raises(StoreUnavailable):
        await pushing
    await _stopped(store, disk)


async def test_stopped_with_pushes_that_find_no_room(path: Path, disk: _Disk) -> None:
    store = SqliteStore(path)
    await store.start()
    disk.full = True
    pushing = asyncio.create_task(push(store, _LINE))
    await disk.held()
    await _stopped(store, disk)
    with pytest.raises(DiskFull):
        await pushing
