"""The file: who may have it, its format, what is in it, how large it is."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner
from sqlite.sqlite_support import (
    change_rows,
    crashed,
    numbered,
    opened,
    pull,
    pull_all,
    push,
    tidied,
)

from batchq.broker import readers
from batchq.cli.store import store as store_command
from batchq.errors import (
    DiskFull,
    QueueClosed,
    QueueFull,
    QueueReplaced,
    StaleEpoch,
    StoreUnavailable,
)
from batchq.lines import batch_of
from batchq.model import MIB, CloseRequest, End, Limits, PullRequest, PushRequest
from batchq.stores.sqlite import Options, SqliteStore, database
from batchq.stores.sqlite import store as store_module
from batchq.stores.sqlite.schema import FORMAT, MAX_OFFSET, MIGRATIONS

_LINE = b"x" * 1023 + b"\n"


async def _refused(path: Path) -> str:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable) as caught:
        await store.start()
    await store.stop()
    return caught.value.detail


async def test_a_newer_file_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", FORMAT + 1)
    connection.close()
    assert "newer batchq" in await _refused(path)


async def test_an_older_file_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as store:
        await push(store, b"a\nb\n")
    more = "CREATE TABLE later (x INTEGER) STRICT"
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, more))
    monkeypatch.setattr(database, "FORMAT", FORMAT + 1)
    async with opened(path) as store:
        assert await pull_all(store) == b"a\nb\n"
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == FORMAT + 1
    assert connection.execute("SELECT count(*) FROM later").get == 0
    connection.close()


async def test_others_files_are_refused(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert "not of batchq" in await _refused(path)
    _write(path, b"no database at all, but something else\n" * 100)
    assert "batchq store check" in await _refused(path)


@pytest.mark.parametrize(("lines", "suffix"), [(10, ""), (100, "-lines")])
async def test_a_block_that_rotted_stops_the_store(path: Path, lines: int, suffix: str) -> None:
    async with opened(path) as store:
        await push(store, b"to be spoilt\n" + _LINE * lines)
    _spoil(Path(f"{path}{suffix}"), b"to be spoilt", b"to be SPOILT")
    async with opened(path) as store:
        with pytest.raises(StoreUnavailable, match="restore a backup"):
            await pull(store)
        assert store.failure() is not None
        with pytest.raises(StoreUnavailable):
            await push(store, b"more\n")
    found = CliRunner().invoke(store_command, ["check", str(path)])
    assert found.exit_code == 1
    assert "offset 0" in found.output


async def test_a_block_that_is_gone_stops_the_store(path: Path) -> None:
    async with opened(path) as store:
        await push(store, _LINE)
    connection = apsw.Connection(str(path))
    connection.execute("DELETE FROM block")
    connection.close()
    async with opened(path) as store:
        with pytest.raises(StoreUnavailable, match="missing"):
            await pull(store)
    found = CliRunner().invoke(store_command, ["check", str(path)])
    assert found.exit_code == 1
    assert "missing" in found.output


def _size(path: Path) -> int:
    return path.stat().st_size


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _spoil(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


async def test_check_compact_and_backup(path: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    copy = tmp_path / "backup.db"
    async with opened(path) as store:
        for _ in range(8):
            await push(store, _LINE * 1024)
        assert (await pull(store, max_bytes=3 * MIB)).lines == 3072
        leased = await pull(store, max=5, lease=60.0)
        await pull(store, max=5)
        assert leased.lease is not None
        assert run(store_command, ["check", str(path)]).output == f"{path} is sound\n"
        assert run(store_command, ["backup", str(path), str(copy)]).exit_code == 0
        assert "in use" in run(store_command, ["compact", str(path)]).output
        left = await pull_all(store)
    assert run(store_command, ["compact", str(path)]).exit_code == 0
    assert _size(path) < 2 * MIB
    assert run(store_command, ["check", str(copy)]).output == f"{copy} is sound\n"
    async with opened(copy) as store:
        assert await pull_all(store) == _LINE * 5 + left
    assert "no file" in run(store_command, ["check", str(tmp_path / "none")]).output


async def test_compact_counts_all_files(path: Path, tmp_path: Path) -> None:
    """After a kill, most of a store may be in its WAL."""
    async with opened(path) as store:
        for _ in range(40):
            await push(store, _LINE)
        left = crashed(path, tmp_path / "left.db")
    wal = _size(Path(f"{left}-wal"))
    said = CliRunner().invoke(store_command, ["compact", str(left)]).output
    before, after = map(int, re.findall(r"(\d+) bytes", said))
    assert before >= wal > MIB
    assert after < MIB


async def test_no_block_is_read_at_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as store:
        await push(store, _LINE * 1024)
    statements: list[str] = []
    opening = apsw.Connection

    def traced(*arguments: object, **more: object) -> apsw.Connection:
        connection = opening(*arguments, **more)  # type: ignore[arg-type]
        connection.set_exec_trace(trace)
        return connection

    def trace(_cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
        statements.append(sql)
        return True

    monkeypatch.setattr(apsw, "Connection", traced)
    async with opened(path) as store:
        assert (await store.stats("q", None)).ready_lines == 1024
    assert any("FROM life" in sql for sql in statements)
    assert not [sql for sql in statements if "block" in sql]


async def test_deleted_lives_leave_nothing(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(40):
            await push(store, _LINE * 1024)
        life = (await push(store, _LINE)).queue_id
        await store.delete("q", life)
        await push(store, b"of the next life\n")
        await tidied(store)
        assert await pull_all(store) == b"of the next life\n"
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM block").get == 0
    assert connection.execute("SELECT count(*) FROM garbage").get == 0
    connection.close()


async def test_records_of_ended_lives_outlast_a_restart(path: Path) -> None:
    wall = 1_000_000.0
    limits = Limits(keep_closed=100.0)
    async with opened(path, limits, wall=lambda: wall) as store:
        life = (await store.push(numbered(0, b"a\n"))).queue_id
        await pull_all(store)
        await store.close(CloseRequest("q", digest="xxh3-128:" + "a" * 32))
        await store.delete("q", life)
    pinned = PullRequest("q", queue_id=life, wait=0.0)
    async with opened(path, limits, wall=lambda: wall + 90) as store:
        end = await store.pull(pinned)
        assert end == End(life, 1, 2, "xxh3-128:" + "a" * 32)
        again = numbered(0, b"a\n")
        pushed = await store.push(PushRequest("q", again.batch, again.numbering, life))
        assert pushed.duplicate
    async with opened(path, limits, wall=lambda: wall + 101) as store:
        store._tick()
        await tidied(store)
        with pytest.raises(Exception, match="is over"):
            await store.pull(pinned)


async def test_memory_is_bounded_and_reads_go_to_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MIB", 0)
    async with opened(path, options=Options(memory=4 * MIB)) as store:
        cache = store._broker._hub.cache
        assert cache is not None
        for queue in ("a", "b"):
            for n in range(16):
                await push(store, b"%d" % n + _LINE * 1024, queue)
                assert cache.used <= 4 * MIB
        for queue in ("b", "a"):
            for n in range(16):
                pulled = await pull(store, queue, max_bytes=2 * MIB, max=1024)
                assert pulled.data == b"%d" % n + _LINE * 1024
                assert cache.used <= 4 * MIB + readers.READ_AHEAD
        assert cache.used == 0


async def test_crash_without_a_checkpoint(path: Path, tmp_path: Path) -> None:
    async with opened(path) as store:
        await push(store, b"a\nb\nc\n")
        await pull(store, max=1)
        left = crashed(path, tmp_path / "left.db")
    async with opened(left) as store:
        assert (await pull(store)).data == b"b\nc\n"


async def test_pushes_wait_below_the_reserve(path: Path) -> None:
    async with opened(path, options=Options(min_free=1 << 60)) as store:
        with pytest.raises(DiskFull):
            await store.push(PushRequest("q", batch_of(b"a\n")))
        assert store.failure() is None


async def test_what_needs_no_room_is_answered_below_the_reserve(path: Path) -> None:
    async with opened(path) as store:
        for seq in range(2):
            stored = await store.push(numbered(seq, b"a\n", epoch=1))
        await store.close(CloseRequest("closed"))
    async with opened(path, options=Options(min_free=1 << 60)) as store:
        for seq in range(2):
            assert (await store.push(numbered(seq, b"a\n", epoch=1))).duplicate
        with pytest.raises(StaleEpoch):
            await store.push(numbered(2, b"a\n", epoch=0))
        with pytest.raises(QueueClosed):
            await push(store, b"a\n", "closed")
        with pytest.raises(QueueReplaced):
            await store.push(PushRequest("new", batch_of(b"a\n"), queue_id=stored.queue_id))
        for new in (numbered(2, b"a\n", epoch=1), numbered(0, b"a\n", "new")):
            with pytest.raises(DiskFull):
                await store.push(new)
        assert (await store.stats("q", None)).lines == 2


async def test_a_duplicate_of_what_is_on_its_way_is_answered_below_the_reserve(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin passed the reserve before it was low, and is not committed yet."""
    async with opened(path) as store:
        for seq in range(2):  # the first also makes the queue
            first = asyncio.create_task(store.push(numbered(seq, b"a\n")))
            await asyncio.sleep(0)
            assert not first.done()
            monkeypatch.setattr(store._reserve, "stuck", True)
            again = asyncio.create_task(store.push(numbered(seq, b"a\n")))
            other = asyncio.create_task(store.push(numbered(seq + 1, b"a\n")))
            assert not (await first).duplicate
            assert (await again).duplicate
            with pytest.raises(DiskFull):
                await other
            monkeypatch.setattr(store._reserve, "stuck", False)
        assert (await store.stats("q", None)).lines == 2


async def test_more_lines_than_a_life_can_count_are_refused(path: Path) -> None:
    async with opened(path) as store:
        await push(store, b"gone\n")
        await pull(store)
    change_rows(
        path,
        f"UPDATE life SET head_offset={MAX_OFFSET - 2}, tail_offset={MAX_OFFSET - 2}",
        f"UPDATE life SET head_position={1 << 60}, tail_position={1 << 60}",
    )
    async with opened(path) as store:
        with pytest.raises(QueueFull, match=str(MAX_OFFSET)):
            await push(store, b"a\nb\nc\n")
        assert (await push(store, b"a\nb\n")).offset == MAX_OFFSET - 2
        with pytest.raises(QueueFull, match="close or delete it"):
            await push(store, b"c\n")
        assert (await push(store, b"c\n", "another")).offset == 0
        assert store.failure() is None
    async with opened(path) as store:
        assert await pull_all(store) == b"a\nb\n"
        assert await pull_all(store, "another") == b"c\n"


def test_libraries_with_the_wal_reset_bug_are_refused() -> None:
    for bad in (3_007_000, 3_044_005, 3_045_000, 3_050_006, 3_051_000, 3_051_002):
        with pytest.raises(StoreUnavailable, match="install apsw"):
            database.check_library(bad)
    for good in (3_044_006, 3_050_007, 3_051_003, 3_052_000):
        database.check_library(good)


def test_nothing_of_the_database_is_imported_for_the_memory_store() -> None:
    code = "import batchq.stores.memory, sys; sys.exit('apsw' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
