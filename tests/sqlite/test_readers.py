"""Others that read the file for long, such as a backup: nothing waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from sqlite.sqlite_support import opened, pull, push, size_of, tidied

from batchq.model import MIB
from batchq.stores.sqlite import SqliteStore, maintenance, records

_LINE = b"x" * 1023 + b"\n"


@contextmanager
def _reader(path: Path) -> Iterator[None]:
    """Reads one state of the file all the time."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute("BEGIN")
    assert connection.execute("SELECT count(*) FROM life").get
    try:
        yield
    finally:
        connection.close(True)


def _waits(store: SqliteStore) -> list[int]:
    """Notes each time that the writer would wait for somebody."""
    waits: list[int] = []

    def busy(prior: int) -> bool:
        waits.append(prior)
        return False

    assert store._writer is not None
    store._writer._db.set_busy_handler(busy)
    return waits


async def test_pushes_never_wait_for_a_reader(path: Path) -> None:
    wal = Path(f"{path}-wal")
    async with opened(path) as store:
        await push(store, _LINE)
        await tidied(store)
        waits = _waits(store)
        with _reader(path):
            while size_of(wal) < 136 * MIB:
                await push(store, _LINE * 60)
            await push(store, _LINE)
        assert not waits
        for _ in range(200):
            await push(store, _LINE)
        await tidied(store)
        # It started anew, and what it had grown by is given back.
        assert size_of(wal) <= 64 * MIB
        assert not waits


async def test_a_reader_at_the_end_of_the_wal_costs_no_checkpoint_a_push(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is moved, but the WAL can't start anew."""
    async with opened(path) as store:
        assert store._writer is not None
        upkeep = store._writer._upkeep
        monkeypatch.setattr(upkeep, "_checkpoint_pages", 8)
        upkeep._due = 8
        for _ in range(8):
            await push(store, _LINE)
        moves = 0
        checkpoint = upkeep.checkpoint

        def counted() -> bool:
            nonlocal moves
            moves += 1
            return checkpoint()

        monkeypatch.setattr(upkeep, "checkpoint", counted)
        with _reader(path):
            for _ in range(50):
                await push(store, _LINE)
            assert moves < 10


async def test_check_lets_go_of_what_it_has_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as store:
        for n in range(6):
            await push(store, b"%d\n" % n + _LINE * 100, f"q{n % 2}")
        await pull(store, "q0", max=150)
        await push(store, b"", "empty")
    other = apsw.Connection(str(path))
    ends = []
    reading = records.read_rows

    def read_rows(connection: apsw.Connection) -> Any:
        other.execute("UPDATE meta SET synced=synced+1")
        frames, moved = other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        ends.append(frames == moved)
        return reading(connection)

    monkeypatch.setattr(maintenance, "read_rows", read_rows)
    monkeypatch.setattr(maintenance, "_STRETCH", 1, raising=False)
    assert list(maintenance.check(str(path))) == []
    assert len(ends) > 5
    assert all(ends)
    other.execute("DELETE FROM extent WHERE id=(SELECT max(id) FROM extent)")
    (finding,) = maintenance.check(str(path))
    assert finding == "queue 'q1': the lines from offset 202 on are missing"
    other.close()
