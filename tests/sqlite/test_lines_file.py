"""The file of lines beside the database: where blocks go, what is used anew and given back."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner
from sqlite.sqlite_support import opened, pull, pull_all, push, tidied

from batchq.cli.store import store as store_command
from batchq.errors import StoreUnavailable
from batchq.model import MIB
from batchq.stores.sqlite import Options, SqliteStore, loader, spare
from batchq.stores.sqlite.errors import Corrupt
from batchq.stores.sqlite.hashes import hash_of
from batchq.stores.sqlite.lines_file import LinesFile, lines_path
from batchq.stores.sqlite.rows import ORIGIN
from batchq.stores.sqlite.schema import APPLICATION_ID, FORMAT, MIGRATIONS, block_id
from batchq.stores.sqlite.segments import ALIGN, SEGMENT, Segments
from batchq.stores.sqlite.upkeep import Upkeep

_LINE = b"x" * 1023 + b"\n"


def _lines(path: Path) -> Path:
    return Path(lines_path(str(path)))


def _copies(folder: Path) -> list[Path]:
    return list(folder.glob("copy*"))


def _allocated(path: Path) -> int:
    return _lines(path).stat().st_blocks * 512


def _count(path: Path, table: str) -> int:
    connection = apsw.Connection(str(path))
    count = connection.execute(f"SELECT count(*) FROM {table}").get
    connection.close(True)
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("seed", range(8))
def test_no_block_is_put_where_one_is_held_or_may_be_read(seed: int) -> None:
    """Random transactions, some rolled back, against a plain map of what is where."""
    chance = random.Random(seed)
    segments = Segments()
    segments.start()
    held: list[tuple[int, int]] = []
    unread: list[tuple[int, int]] = []
    for _ in range(600):
        segments.begin()
        placed: list[tuple[int, int]] = []
        for _ in range(chance.randrange(4)):
            size = chance.choice((SEGMENT, chance.randrange(1, SEGMENT // 2), ALIGN))
            place = segments.place(size)
            assert place % ALIGN == 0
            assert place // SEGMENT == (place + size - 1) // SEGMENT
            for other, length in (*held, *placed, *unread):
                assert place >= other + length or other >= place + size
            placed.append((place, size))
        if chance.random() < 0.2:
            segments.roll_back()
        else:
            chance.shuffle(held)
            cut = chance.randrange(len(held) + 1) if chance.random() < 0.7 else 0
            gone, held = held[:cut], held[cut:] + placed
            segments.committed(gone)
            unread += gone
        assert segments.held == sum(size for _, size in held)
        if chance.random() < 0.3:
            segments.reuse()
            # What is free now may be filled; what shares a segment with held blocks may not.
            unread = [one for one in unread if one[0] // SEGMENT not in segments.free]
        if chance.random() < 0.1:
            segments.leave()
        if chance.random() < 0.1:
            segments.trim(chance.randrange(3))
    segments.committed(held)
    segments.leave()
    segments.reuse()
    assert segments.trim(0) == segments.held == 0


def test_what_is_held_at_the_start_is_not_overwritten() -> None:
    segments = Segments()
    segments.hold(2 * SEGMENT + ALIGN, 100)
    segments.start()
    segments.begin()
    assert [segments.place(SEGMENT) // SEGMENT for _ in range(3)] == [0, 1, 3]


async def test_large_blocks_go_there_small_ones_and_relaxed_ones_not(path: Path) -> None:
    async with opened(path) as store:
        await push(store, _LINE)
        await push(store, _LINE * 100)
    assert (_count(path, "block"), _count(path, "extent")) == (1, 1)
    async with opened(path, options=Options(fsync="interval")) as store:
        await push(store, _LINE * 100)
        assert await pull_all(store) == _LINE * 201
    assert (_count(path, "block"), _count(path, "extent")) == (0, 0)


async def test_small_and_large_blocks_keep_their_order(path: Path) -> None:
    data = b""
    async with opened(path) as store:
        for n in range(40):
            part = b"%d\n" % n + _LINE * (100 if n % 3 else 1)
            data += part
            await push(store, part)
    async with opened(path) as store:
        assert await pull_all(store, max_bytes=150_000) == data


async def test_a_line_that_no_segment_holds(path: Path) -> None:
    line = b"y" * (SEGMENT + 1) + b"\n"
    async with opened(path) as store:
        await push(store, line)
    async with opened(path) as store:
        assert await pull_all(store) == line


async def test_a_file_of_format_1_is_migrated(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute(MIGRATIONS[0])
    connection.pragma("user_version", 1)
    connection.pragma("application_id", APPLICATION_ID)
    data = _LINE * 100
    life = (1, "q", "0" * 32, 0, 0, 100, len(data), 0, None, 0, 0, None)
    connection.execute(f"INSERT INTO life VALUES ({','.join('?' * len(life))})", life)
    block = (block_id(1, 0), 100, 0, hash_of(data), data)
    connection.execute("INSERT INTO block VALUES (?,?,?,?,?)", block)
    connection.close(True)
    async with opened(path) as store:
        await push(store, _LINE * 200)
        assert await pull_all(store) == _LINE * 300
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == FORMAT
    connection.close(True)


@pytest.mark.parametrize("left", [0, MIB // 2])
async def test_a_database_without_its_file_is_refused(path: Path, left: int) -> None:
    async with opened(path) as store:
        await push(store, _LINE * 1024)
    lines = _lines(path)
    data = lines.read_bytes()
    lines.write_bytes(data[:left])
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="restore a backup"):
        await store.start()
    await store.stop()
    found = CliRunner().invoke(store_command, ["check", str(path)])
    assert found.exit_code == 1
    assert "not what was written" in found.output
    lines.write_bytes(data)
    async with opened(path) as store:
        assert await pull_all(store) == _LINE * 1024


async def test_what_is_being_read_is_not_overwritten(path: Path) -> None:
    """As a backup reads: what was done with since stays until it has ended."""
    async with opened(path) as store:
        for n in range(4):
            await push(store, b"%d\n" % n + _LINE * 7168)
        reader = LinesFile(str(path), write=False)
        with reader.being_read():
            before = _lines(path).read_bytes()
            await pull_all(store)
            await tidied(store)
            for _ in range(8):
                await push(store, b"later\n" + _LINE * 7168)
            assert _lines(path).read_bytes()[: len(before)] == before
        size = _lines(path).stat().st_size
        await pull_all(store)
        await tidied(store)
        for _ in range(8):
            await push(store, b"later\n" + _LINE * 7168)
        assert _lines(path).stat().st_size <= size
        reader.close()


async def test_a_backup_while_lines_come_and_go(path: Path, tmp_path: Path) -> None:
    """Each copy is sound, and whole in itself."""
    copies = [tmp_path / f"copy{n}.db" for n in range(3)]
    async with opened(path) as store:
        for _ in range(16):
            await push(store, _LINE * 2048)

        async def turn() -> None:
            while True:
                await push(store, _LINE * 2048)
                await pull(store, max_bytes=2 * MIB)

        turning = asyncio.create_task(turn())
        for copy in copies:
            arguments = ["backup", str(path), str(copy)]
            done = await asyncio.to_thread(CliRunner().invoke, store_command, arguments)
            assert done.exit_code == 0, done.output
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)
    for copy in copies:
        assert not _lines(copy).exists()
        found = CliRunner().invoke(store_command, ["check", str(copy)])
        assert found.output == f"{copy} is sound\n"
        async with opened(copy) as store:
            assert set((await pull_all(store)).split(b"\n")) == {_LINE[:-1], b""}


async def test_a_backup_of_a_rotten_block_is_refused(path: Path, tmp_path: Path) -> None:
    async with opened(path) as store:
        await push(store, b"to be spoilt\n" + _LINE * 100)
    _lines(path).write_bytes(_lines(path).read_bytes().replace(b"spoilt", b"SPOILT"))
    done = CliRunner().invoke(store_command, ["backup", str(path), str(tmp_path / "copy")])
    assert done.exit_code == 1
    assert "not what was written" in done.output
    assert not _copies(tmp_path)


class _Late(LinesFile):
    """Gives what another block has put there after the row was read."""

    def __init__(self, path: Path, *, gone: bool) -> None:
        super().__init__(str(path), write=False)
        self._path = str(path)
        self._gone = gone

    def read(self, place: int, size: int) -> bytes:
        assert place == 0
        if self._gone:
            other = apsw.Connection(self._path)
            other.execute("DELETE FROM extent")
            other.close(True)
        return b"z" * size


@pytest.mark.parametrize("gone", [True, False])
async def test_a_place_that_was_used_anew_is_no_damage(path: Path, *, gone: bool) -> None:
    async with opened(path) as store:
        await push(store, _LINE * 100)
    connection = apsw.Connection(str(path))
    file = _Late(path, gone=gone)
    if gone:
        assert loader.read_blocks(connection, file, 1, ORIGIN, MIB) == []
    else:
        with pytest.raises(Corrupt):
            loader.read_blocks(connection, file, 1, ORIGIN, MIB)
    file.close()
    connection.close(True)


async def test_space_between_blocks_that_are_held_is_given_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that nobody reads has a block in every segment; another is drained."""
    monkeypatch.setattr(spare, "_KEEP", 2)
    async with opened(path) as store:
        for _ in range(16):
            await push(store, _LINE * 100, "slow")
            for _ in range(4):
                await push(store, _LINE * 2000)
        size = _allocated(path)
        assert size > 15 * SEGMENT
        await pull_all(store, max_bytes=8 * MIB)
        await tidied(store)
        assert _allocated(path) < 4 * SEGMENT
        assert await pull_all(store, "slow") == _LINE * 1600
    found = CliRunner().invoke(store_command, ["check", str(path)])
    assert found.output == f"{path} is sound\n"


async def test_all_space_is_given_back_in_the_end(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(96):
            await push(store, _LINE * 4096)
        await push(store, _LINE * 100, "kept")
        await pull_all(store, max_bytes=8 * MIB)
        await tidied(store)
        # Some is kept for new lines.
        assert 100 * MIB < _allocated(path) <= 264 * MIB
        assert await pull_all(store, "kept") == _LINE * 100
        await tidied(store)
    assert _lines(path).stat().st_size <= 264 * MIB
    assert CliRunner().invoke(store_command, ["compact", str(path)]).exit_code == 0
    assert _lines(path).stat().st_size == 0


async def test_a_large_backlog_leaves_the_page_cache(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but its oldest lines, which are read first; what was read leaves it too."""
    monkeypatch.setattr(spare, "_CACHED", 2 * SEGMENT)
    left: list[int] = []
    monkeypatch.setattr(LinesFile, "uncache", lambda _self, place, _size: left.append(place))
    async with opened(path) as store:
        for _ in range(16):
            await push(store, _LINE * 4096)
        # The oldest stays, and the one that is being filled; the second was left too late.
        assert left == [number * SEGMENT for number in range(1, 7)]
        left.clear()
        await pull_all(store, max_bytes=8 * MIB)
        await tidied(store)
        assert sorted(left)[:7] == [number * SEGMENT for number in range(7)]
        left.clear()
        await push(store, _LINE * 4096)
        await pull_all(store)
        await tidied(store)
        assert left == []


async def test_the_room_is_looked_at_after_each_commit_that_took_some(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushes are let in by it; a look after each pull would hold up the next."""
    looks: list[bool] = []
    after_commit = Upkeep.after_commit

    def noted(upkeep: Upkeep, *, frees: bool) -> bool:
        looks.append(after_commit(upkeep, frees=frees))
        return looks[-1]

    monkeypatch.setattr(Upkeep, "after_commit", noted)
    async with opened(path) as store:
        for _ in range(16):
            await push(store, _LINE)
        await tidied(store)
        assert looks == [True] * 16
        looks.clear()
        for _ in range(16):
            await pull(store, max=1)
        await tidied(store)
    assert looks == [at % 8 == 7 for at in range(16)]
