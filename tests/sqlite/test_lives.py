"""Queues that are made and deleted: what they leave behind is removed, and never stops the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest
from sqlite.sqlite_support import opened, pull_all, push, tidied

from batchq.errors import StoreUnavailable, TooManyQueues
from batchq.model import CloseRequest, Limits
from batchq.stores.sqlite import SqliteStore, admission, rows
from batchq.stores.sqlite.schema import MAX_QUEUES

_QUEUES = 200


def _garbage(store: SqliteStore) -> int:
    assert store._writer is not None
    return len(store._writer._rows.garbage)


async def test_deleted_queues_go_as_fast_as_others_are_made(path: Path) -> None:
    async with opened(path) as store:
        names = [f"q{n}" for n in range(_QUEUES)]
        for _ in range(10):
            await asyncio.gather(*(push(store, b"a line\n", name) for name in names))
            await asyncio.gather(*(store.delete(name, None) for name in names))
            assert _garbage(store) <= 2 * _QUEUES
        await tidied(store)
        assert _garbage(store) == 0
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM block").get == 0
    connection.close()


async def test_large_queues_are_removed_bit_by_bit(path: Path) -> None:
    """Blocks in the database and in the file of lines, more than one budget."""
    async with opened(path) as store:
        for n in range(60):
            await push(store, b"x" * 70_000 + b"\n")
            await push(store, b"%d\n" % n)
        await store.delete("q", None)
        for n in range(60):
            await push(store, b"%d\n" % n, "other")
        await tidied(store)
        assert await pull_all(store, "other") == b"".join(b"%d\n" % n for n in range(60))
    connection = apsw.Connection(str(path))
    for table in ("block", "extent", "garbage"):
        assert connection.execute(f"SELECT count(*) FROM {table}").get == 0
    connection.close()


async def test_new_queues_are_refused_before_numbers_run_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_SPARE_LIVES", 4, raising=False)
    monkeypatch.setattr(admission, "MAX_LIVES", 64, raising=False)
    monkeypatch.setattr(rows, "MAX_LIVES", 64)
    async with opened(path, Limits(queues=200)) as store:
        for n in range(60):
            await push(store, b"a\n", f"q{n}")
        with pytest.raises(TooManyQueues):
            await push(store, b"a\n", "new")
        with pytest.raises(TooManyQueues):
            await store.close(CloseRequest("new"))
        results = await asyncio.gather(
            *(push(store, b"a\n", f"more{n}") for n in range(100)), return_exceptions=True
        )
        assert {type(result) for result in results} == {TooManyQueues}
        assert (await push(store, b"b\n", "q0")).offset == 1
        await store.close(CloseRequest("q1"))
        assert await pull_all(store, "q0") == b"a\nb\n"
        assert store.failure() is None


async def test_queues_at_once_that_are_not_committed_yet_count(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_SPARE_LIVES", 4, raising=False)
    monkeypatch.setattr(admission, "MAX_LIVES", 64, raising=False)
    monkeypatch.setattr(rows, "MAX_LIVES", 64)
    async with opened(path, Limits(queues=200)) as store:
        results = await asyncio.gather(
            *(push(store, b"a\n", f"q{n}") for n in range(100)), return_exceptions=True
        )
        assert sum(isinstance(result, TooManyQueues) for result in results) >= 40
        assert store.failure() is None


async def test_more_queues_than_a_file_holds_are_refused_at_the_start(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=str(MAX_QUEUES)):
        async with opened(path, Limits(queues=MAX_QUEUES + 1)):
            pass
