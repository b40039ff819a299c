"""How large the files get, and that they get small again: in both places that lines go to."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from sqlite.sqlite_support import opened, pull_all, push, size_of, tidied

from batchq.model import MIB
from batchq.stores.sqlite import SqliteStore, upkeep
from batchq.stores.sqlite.lines_file import lines_path
from batchq.stores.sqlite.schema import PAGE_SIZE
from batchq.stores.sqlite.segments import SMALLEST

_LINE = b"x" * 1023 + b"\n"
_LARGE = _LINE * 1024
_SMALL = _LINE * (SMALLEST // 1024 - 1)
_KEPT = 2 * MIB


def _allocated(path: Path) -> tuple[int, int]:
    """Bytes on the disk: of the database with its WAL, and of the file of lines."""
    wal, lines = Path(f"{path}-wal"), Path(lines_path(str(path)))
    sizes = [file.stat().st_blocks * 512 for file in (path, wal, lines)]
    return sizes[0] + sizes[1], sizes[2]


async def _drained(store: SqliteStore, block: bytes, count: int) -> None:
    for _ in range(count):
        await push(store, block)
    assert await pull_all(store, max_bytes=8 * MIB) == block * count


async def test_space_of_large_blocks_is_used_again_and_given_back(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(64):
            await _drained(store, _LARGE, 1)
        database, lines = _allocated(path)
        assert database < 50 * MIB
        assert lines < 32 * MIB
        for _ in range(300):
            await push(store, _LARGE)
        assert _allocated(path)[1] >= 300 * MIB
        assert await pull_all(store, max_bytes=8 * MIB) == _LARGE * 300
        await tidied(store)
        database, lines = _allocated(path)
        assert database < 50 * MIB
        # What is kept for new lines, and the segment that is being filled.
        assert lines <= (256 + 8) * MIB


async def test_space_of_small_blocks_is_used_again(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(64):
            await _drained(store, _SMALL, 16)
        database, lines = _allocated(path)
        # The WAL up to where it is checkpointed, and what is pushed until the next one.
        assert database < 80 * MIB
        assert lines == 0
    assert size_of(path) < 16 * MIB


@pytest.fixture
def little_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_KEEP_FREE", _KEPT // PAGE_SIZE)
    monkeypatch.setattr(upkeep, "_GIVE_BACK_STEP", 8)


@pytest.mark.usefixtures("little_kept")
@pytest.mark.parametrize("held", [0, 16])
async def test_free_pages_of_the_database_are_given_back(path: Path, held: int) -> None:
    """Pages in use move to the front, where there are some."""
    async with opened(path) as store:
        for _ in range(256):
            await push(store, _SMALL)
        for _ in range(held):
            await push(store, _SMALL, "held")
        await tidied(store)
        full = size_of(path)
        assert full > 256 * len(_SMALL)
        assert await pull_all(store, max_bytes=8 * MIB) == _SMALL * 256
        await tidied(store)
        assert size_of(path) < _KEPT + (held + 8) * 2 * PAGE_SIZE < full / 3
        assert await pull_all(store, "held") == _SMALL * held
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.close()
