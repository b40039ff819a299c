"""A backup in the place of a store, whatever the old one has left there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from click.testing import CliRunner
from sqlite.sqlite_support import crashed, opened, pull_all, push

from batchq.cli.store import store as store_command
from batchq.errors import StoreUnavailable
from batchq.stores.sqlite.schema import APPLICATION_ID, FORMAT, MIGRATIONS

_OLD = b"of the old store\n"
_NEW = b"of the backup\n"
_FILES = ("", "-wal", "-lines", "-restore")
_LARGE = b"x" * 70_000 + b"\n"
"""A line that goes to the file of lines."""


def _run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(store_command, list(map(str, arguments)))
    assert (done.exit_code == 0) == (not done.output.startswith("Error: "))
    return done.output


async def _killed(path: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A backup, and the files of a store that went on after it and was killed."""
    running, backup = tmp_path / "running.db", tmp_path / "backup.db"
    async with opened(running) as store:
        await push(store, _NEW)
        await push(store, _LARGE, "large")
        _run("backup", running, backup)
        await pull_all(store)
        for n in range(20):
            await push(store, _OLD, f"q{n}")
        await push(store, _LARGE * 2, "large")
        crashed(running, path)
    return backup, path


async def _content(path: Path) -> bytes:
    """The lines of a store; they are pulled from a copy of its files."""
    with TemporaryDirectory(dir=path.parent) as folder:
        for suffix in _FILES:
            _copy(Path(f"{path}{suffix}"), Path(f"{folder}/{path.name}{suffix}"))
        async with opened(Path(folder, path.name)) as store:
            names = [stats.queue for stats in await store.queues()]
            return b"".join([await pull_all(store, name) for name in names])


async def _content_or_refusal(path: Path) -> bytes:
    try:
        return await _content(path)
    except StoreUnavailable as error:
        return error.detail.encode()


def _copy(source: Path, to: Path) -> None:
    if source.exists():
        shutil.copyfile(source, to)


def _only(path: Path, suffix: str) -> bytes:
    """Removes all files of a store but one, and gives what is in it."""
    for other in _FILES:
        if other != suffix:
            Path(f"{path}{other}").unlink(missing_ok=True)
    return Path(f"{path}{suffix}").read_bytes()


async def test_what_the_old_one_left_is_not_mixed_in(path: Path, tmp_path: Path) -> None:
    backup, path = await _killed(path, tmp_path)
    assert _run("restore", backup, path).startswith(f"{path}: ")
    assert _run("check", path) == f"{path} is sound\n"
    async with opened(path) as store:
        assert {stats.queue for stats in await store.queues()} == {"q", "large"}
        assert await pull_all(store) == _NEW
        assert await pull_all(store, "large") == _LARGE
    assert _run("check", backup) == f"{backup} is sound\n"


async def test_a_store_that_is_not_there(path: Path, tmp_path: Path) -> None:
    backup, _ = await _killed(tmp_path / "killed.db", tmp_path)
    _run("restore", backup, path)
    assert await _content(path) == _LARGE + _NEW


@pytest.mark.parametrize(
    ("calls", "every"), [("unlink,rename", 1), ("fsync,fdatasync", 1), ("pwrite64", 9)]
)
async def test_cut_short_at_any_point(path: Path, tmp_path: Path, calls: str, every: int) -> None:
    """The old store, the new one, or one that is refused; and it can be repeated."""
    backup, killed = await _killed(tmp_path / "killed.db", tmp_path)
    old, new = await _content(killed), _LARGE + _NEW
    assert old.count(_OLD) == 20
    seen = set()
    for point in range(1, 200, every):
        crashed(killed, path)
        if not _cut_short(calls, point, backup, path):
            break
        seen.add(await _content_or_refusal(path))
        _run("restore", backup, path)
        assert await _content(path) == new
    assert point > 2
    refusals = seen - {old, new}
    assert all(b"is missing or empty, but" in text for text in refusals), refusals
    assert old in seen
    assert bool(refusals) == ("rename" in calls)


def _cut_short(calls: str, point: int, *arguments: Path) -> bool:
    """Kills a restore at one of its calls of the system; tells whether it came so far."""
    command = [
        *("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"),
        *("-e", f"inject={calls}:signal=KILL:when={point}"),
        *(sys.executable, "-m", "batchq", "store", "restore"),
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0


async def test_one_that_is_in_use_is_refused(path: Path, tmp_path: Path) -> None:
    backup, _ = await _killed(tmp_path / "killed.db", tmp_path)
    async with opened(path) as store:
        await push(store, _OLD)
        assert "in use by another batchq" in _run("restore", backup, path)
        assert await pull_all(store) == _OLD


async def test_a_backup_that_is_damaged_changes_nothing(path: Path, tmp_path: Path) -> None:
    backup, path = await _killed(path, tmp_path)
    old = await _content(path)
    backup.write_bytes(backup.read_bytes().replace(b"of the backup", b"of the BACKUP"))
    assert "backup.db is damaged" in _run("restore", backup, path)
    backup.write_bytes(backup.read_bytes()[: 2 * 65536])
    assert "Error" in _run("restore", backup, path)
    assert "there is no file" in _run("restore", tmp_path / "none", path)
    assert "from itself" in _run("restore", path, path)
    assert await _content(path) == old


async def test_a_backup_of_an_older_format(path: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "model.db") as store:
        await push(store, _NEW)
    older = tmp_path / "older.db"
    connection = apsw.Connection(str(older))
    connection.execute(MIGRATIONS[0])
    connection.execute(f"PRAGMA user_version=1; PRAGMA application_id={APPLICATION_ID}")
    connection.execute("ATTACH ? AS model", (str(tmp_path / "model.db"),))
    for table in ("life", "block"):
        columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
        listed = ", ".join(columns)
        connection.execute(f"INSERT INTO {table} SELECT {listed} FROM model.{table}")
    connection.close()
    _run("restore", older, path)
    assert await _content(path) == _NEW
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == FORMAT
    connection.close()


@pytest.mark.parametrize("suffix", ["-wal", "-lines"])
async def test_what_is_left_of_a_store_is_not_taken_for_a_new_one(
    path: Path, tmp_path: Path, suffix: str
) -> None:
    backup, path = await _killed(path, tmp_path)
    left = _only(path, suffix)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=f"{path}{suffix} of it is there"):
            async with opened(path):
                pass
    assert _only(path, suffix) == left
    _run("restore", backup, path)
    assert await _content(path) == _LARGE + _NEW


async def test_a_backup_removes_nothing_of_others(path: Path, tmp_path: Path) -> None:
    async with opened(path) as store:
        await push(store, _NEW)
    part = tmp_path / "copy.db.part"
    part.write_bytes(b"of somebody\n")
    assert f"{part} exists" in _run("backup", path, tmp_path / "copy.db")
    assert part.read_bytes() == b"of somebody\n"
    part.unlink()
    _run("backup", path, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert not part.exists()
