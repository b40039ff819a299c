"""Who may have a store: one server, by whatever name, and only its owner its files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlite import worker
from sqlite.sqlite_support import opened, pull_all, push

from batchq.cli.store import store as store_command
from batchq.errors import StoreUnavailable
from batchq.stores.sqlite import SqliteStore

_WORKER = Path(worker.__file__)


async def _refused(path: Path) -> str:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable) as caught:
        await store.start()
    await store.stop()
    return caught.value.detail


def _refused_elsewhere(path: Path) -> bool:
    """Tells whether another process is kept out; if not, it uses the store."""
    command = list(map(str, (sys.executable, _WORKER, path, "run")))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.startswith("refused store-unavailable")


def _use_alone(path: Path) -> str:
    """Asks for what only the last process that uses the file may do; gives its error."""
    code = "import apsw, sys; apsw.Connection(sys.argv[1]).pragma('journal_mode', 'delete')"
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr


def _delete_lock_file(path: Path) -> None:
    Path(f"{path}.lock").unlink()


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_a_second_server_is_refused(path: Path) -> None:
    async with opened(path):
        assert "in use by another batchq" in await _refused(path)
        assert f"(process {os.getpid()})" in await _refused(path)
        assert _refused_elsewhere(path)
    async with opened(path):
        pass


@pytest.mark.parametrize("name", ["link", "folder/queues.db", "hard"])
async def test_one_by_another_name_is_refused(path: Path, name: str) -> None:
    other = path.parent / name
    async with opened(path):
        (path.parent / "link").symlink_to(path)
        (path.parent / "folder").symlink_to(path.parent)
        os.link(path, path.parent / "hard")
        assert "in use by another batchq" in await _refused(other)
        assert _refused_elsewhere(other)


async def test_a_link_leads_to_all_files(path: Path) -> None:
    link = path.parent / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    async with opened(link) as store:
        await push(store, b"x" * 70_000 + b"\n")
    check = CliRunner().invoke(store_command, ["check", str(link)])
    assert check.output == f"{link} is sound\n"
    assert _names(link.parent) == [link.name]
    async with opened(path) as store:
        assert await pull_all(store) == b"x" * 70_000 + b"\n"


async def test_the_lock_file_may_be_deleted(path: Path) -> None:
    async with opened(path):
        _delete_lock_file(path)
        assert _refused_elsewhere(path)
        _delete_lock_file(path)
        assert "in use by another batchq" in await _refused(path)
        # A look from this process has left SQLite's own locks in place.
        assert "database is locked" in _use_alone(path)


async def test_a_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "is a directory" in await _refused(folder)
    assert _names(tmp_path) == [folder.name]


async def test_all_files_are_their_owners_alone(path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with opened(path) as store:
            await push(store, b"x" * 70_000 + b"\n")
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert len(modes) == 5
    assert set(modes.values()) == {0o600}, modes
