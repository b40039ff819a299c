"""A file in which something has changed: it is noticed, and nothing else is served for it."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner
from sqlite.sqlite_support import change_rows, numbered, opened, pull, push

from batchq.cli.store import store as store_command
from batchq.errors import StoreUnavailable
from batchq.model import CloseRequest, Pulled, PullRequest
from batchq.stores.sqlite import records
from batchq.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS

_FLIPS = 120
_LINE = b"x" * 1023 + b"\n"


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _make(path: Path) -> None:
    """A store that has something in each of its tables."""
    async with opened(path) as store:
        for n in range(4):
            for seq in range(3):
                await store.push(numbered(seq, b"%d\n" % seq + _LINE * 70, f"queue-{n}"))
        leased = await pull(store, "queue-0", max=10, lease=60.0)
        await pull(store, "queue-0", max=5)
        assert leased.lease is not None
        await store.release("queue-0", [leased.lease.id], None)
        await store.close(CloseRequest("queue-1", digest="xxh3-128:" + "a" * 32))
        await store.delete("queue-2", None)
        await push(store, b"small\n", "queue-4")
        await push(store, b"lines\n", "queue-4")


async def _content(path: Path) -> object:
    """All that callers can see of a store."""
    seen: list[object] = []
    async with opened(path) as store:
        for stats in await store.queues():
            producer = await store.producer(stats.queue, "w", None)
            seen.append((stats.queue, stats.queue_id, stats.lines, stats.ready_lines, producer))
            while isinstance(
                answer := await store.pull(PullRequest(stats.queue, wait=0.0)), Pulled
            ):
                seen.append((answer.offset, answer.position, answer.data))
            seen.append(answer)
    return seen


async def _with(image: bytes, lines: bytes, path: Path) -> object:
    """What is seen of a store with this image, or the error."""
    for suffix in ("-wal", "-shm"):
        _remove(Path(f"{path}{suffix}"))
    _write(path, image)
    _write(Path(f"{path}-lines"), lines)
    try:
        return await _content(path)
    except StoreUnavailable as error:
        return error


def _root_page(path: Path, table: str) -> int:
    connection = apsw.Connection(str(path))
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", (table,)).get
    connection.close()
    return int(page)


@pytest.mark.parametrize("table", ["life", "producer", "done", "block", "extent", "garbage"])
async def test_a_bit_that_flipped_is_noticed(path: Path, tmp_path: Path, table: str) -> None:
    await _make(path)
    image, lines = _read(path), _read(Path(f"{path}-lines"))
    copy = tmp_path / "copy.db"
    sound = await _with(image, lines, copy)
    assert isinstance(sound, list)
    chance = random.Random(table)
    noticed = 0
    begin = (_root_page(path, table) - 1) * 65536
    places = [at for at in range(begin, begin + 65536) if image[at]]
    for _ in range(_FLIPS):
        flipped = bytearray(image)
        flipped[chance.choice(places)] ^= 1 << chance.randrange(8)
        seen = await _with(bytes(flipped), lines, copy)
        if isinstance(seen, StoreUnavailable):
            noticed += 1
        else:
            assert seen == sound
    assert noticed > _FLIPS // 4 or table == "garbage"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE life SET name='queue-3' WHERE name='queue-4'", "there are two queues 'queue-3'"),
        ("UPDATE life SET name='no/name' WHERE name='queue-4'", "makes no sense"),
        ("UPDATE life SET head_offset=tail_offset+1 WHERE name='queue-4'", "makes no sense"),
        ("UPDATE life SET head_position=tail_position+1 WHERE name='queue-4'", "makes no sense"),
        ("UPDATE done SET end_position=start_position", "makes no sense"),
        ("UPDATE done SET end_offset=1000", "makes no sense"),
        ("DELETE FROM life WHERE name='queue-3'", "not what was written"),
        ("UPDATE extent SET place=-4096 WHERE place=0", "before the beginning"),
        ("UPDATE extent SET place=place+(1<<60) WHERE place=0", "should have"),
    ],
)
async def test_rows_that_make_no_sense_are_refused(path: Path, statement: str, says: str) -> None:
    await _make(path)
    change_rows(path, statement)
    with pytest.raises(StoreUnavailable, match=says) as caught:
        async with opened(path):
            pass
    assert "batchq store" in caught.value.detail or "restore a backup" in caught.value.detail


async def test_the_commands_say_so(path: Path, tmp_path: Path) -> None:
    await _make(path)
    image = _read(path)
    at = image.rindex(b"queue-3")
    for wrong in (b"queue-8", b"queue-\xff"):
        _write(path, image[:at] + wrong + image[at + 7 :])
        for command in (["check", path], ["backup", path, tmp_path / "copy.db"]):
            done = CliRunner().invoke(store_command, list(map(str, command)))
            assert done.exit_code == 1
            assert isinstance(done.exception, SystemExit), done.exception
            assert "not what was written" in done.output
            assert not _read(tmp_path / "copy.db")
            assert not _read(tmp_path / "copy.db.part")


@pytest.mark.parametrize("suffix", ["", "-lines"])
async def test_no_backup_is_made_of_lines_that_rotted(
    path: Path, tmp_path: Path, suffix: str
) -> None:
    async with opened(path) as store:
        await push(store, b"to be spoilt\n" + _LINE * (100 if suffix else 10))
    file = Path(f"{path}{suffix}")
    _write(file, _read(file).replace(b"to be spoilt", b"to be SPOILT"))
    done = CliRunner().invoke(store_command, ["backup", str(path), str(tmp_path / "copy.db")])
    assert done.exit_code == 1
    assert "not what was written" in done.output
    assert not _read(tmp_path / "copy.db")


async def test_blocks_tell_where_they_stand(path: Path) -> None:
    """A block's row is under its hash too; older blocks have only their data there."""
    for column, wrong in (("lines", "lines+1"), ("position", "position+1")):
        async with opened(path) as store:
            name = f"by-{column}"
            await push(store, b"a\nb\n", name)
        change_rows(path, f"UPDATE block SET {column}={wrong} WHERE position < 2")
        async with opened(path) as store:
            with pytest.raises(StoreUnavailable, match="not what was written"):
                await pull(store, name)
        change_rows(path, "DELETE FROM block", "DELETE FROM life")


async def test_older_rows_get_their_hashes(path: Path, tmp_path: Path) -> None:
    await _make(tmp_path / "model.db")
    sound = await _with(
        _read(tmp_path / "model.db"), _read(tmp_path / "model.db-lines"), tmp_path / "a.db"
    )
    connection = apsw.Connection(str(path))
    connection.execute(MIGRATIONS[0])
    connection.execute(MIGRATIONS[1])
    connection.execute(f"PRAGMA user_version=2; PRAGMA application_id={APPLICATION_ID}")
    connection.execute("ATTACH ? AS model", (str(tmp_path / "model.db"),))
    for table in ("life", "producer", "done", "garbage", "block", "extent"):
        names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
        listed = ", ".join(names)
        connection.execute(f"INSERT INTO {table} SELECT {listed} FROM model.{table}")
    connection.close()
    assert await _with(_read(path), _read(tmp_path / "model.db-lines"), path) == sound
    connection = apsw.Connection(str(path))
    records.read_rows(connection)
    connection.close()
