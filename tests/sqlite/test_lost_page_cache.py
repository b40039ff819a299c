"""Power lost: what was not synced may be gone, wholly or in part.

SIGKILL never shows it, as the page cache survives the process. Here a VFS, and what stands
for the system's calls where there is none, remember what each file would hold if the machine
stopped now.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import apsw
import pytest
from sqlite import worker
from sqlite.ledger import account_of, settle
from sqlite.sqlite_support import SEED, numbered, opened, pull, pull_all, size_of, tidied

from batchq.model import Nothing, Pulled, PullRequest
from batchq.stores.sqlite import Options, lines_file, spare
from batchq.stores.sqlite.lines_file import LinesFile

_Write = tuple[int, bytes | None]
"""Bytes and where they go, or what a file is cut off behind."""

_BLOCK: Final = 4096
"""What a disk writes at once."""

_EVERY: Final = 3
"""Power is lost before each sync, and before one write in so many."""


class _Disk:
    """What is on the disk for sure, and what may be, by the files' names.

    Attributes:
        before: is called before each change and sync, in the thread that makes it.
    """

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = {}
        self.unsynced: dict[str, list[_Write]] = {}
        self.before: Callable[[str], None] | None = None

    def _tell(self, what: str) -> None:
        if self.before is not None:
            self.before(what)

    def write(self, name: str, data: bytes, offset: int) -> None:
        self._tell("write")
        self.unsynced.setdefault(name, []).append((offset, data))

    def truncate(self, name: str, size: int) -> None:
        self._tell("truncate")
        self.unsynced.setdefault(name, []).append((size, None))

    def sync(self, name: str) -> None:
        self._tell("sync")
        _apply(self.synced.setdefault(name, bytearray()), self.unsynced.pop(name, []))

    def delete(self, name: str) -> None:
        self.synced.pop(name, None)
        self.unsynced.pop(name, None)

    def lose_power(self, path: Path, to: Path, chance: random.Random) -> None:
        """Leaves copies of the files: of what was not synced, some has come to the disk."""
        for suffix in ("", "-wal", "-lines", "-journal"):
            name = f"{path}{suffix}"
            if suffix == "-journal" and name not in self.synced and name not in self.unsynced:
                continue
            image = bytearray(self.synced.get(name, b""))
            _apply(image, list(_some(self.unsynced.get(name, []), chance)))
            Path(f"{to}{suffix}").write_bytes(image)


def _some(writes: list[_Write], chance: random.Random) -> Iterator[_Write]:
    """Half of what was written; of each fourth write some blocks, as the disk had them."""
    for offset, data in writes:
        if data is None or chance.random() < 0.75:
            if chance.random() < 0.5:
                yield offset, data
            continue
        for at in range(0, len(data), _BLOCK):
            if chance.random() < 0.5:
                yield offset + at, data[at : at + _BLOCK]


def _apply(image: bytearray, writes: list[_Write]) -> None:
    for offset, data in writes:
        if data is None:
            del image[offset:]
            continue
        image.extend(bytes(max(0, offset - len(image))))
        image[offset : offset + len(data)] = data


class _File(apsw.VFSFile):
    def __init__(self, disk: _Disk, name: str, filename: object, flags: list[int]) -> None:
        super().__init__("", filename, flags)  # type: ignore[arg-type]
        self._disk = disk
        self._name = name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's names
        self._disk.write(self._name, bytes(data), offset)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.truncate(self._name, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._disk.sync(self._name)


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: _Disk) -> None:
        super().__init__(name, "")
        self._disk = disk

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        filename = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        return _File(self._disk, filename, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._disk.delete(filename)
        super().xDelete(filename, syncdir)


class _Os:
    """The module ``os`` for the file of lines."""

    def __init__(self, disk: _Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _name(self, fd: int) -> str:
        return str(Path(f"/proc/self/fd/{fd}").readlink())

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        self._disk.write(self._name(fd), bytes(data), offset)
        return os.pwrite(fd, data, offset)

    def ftruncate(self, fd: int, size: int) -> None:
        self._disk.truncate(self._name(fd), size)
        os.ftruncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)
        self._disk.sync(self._name(fd))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Disk]:
    kept = _Disk()
    monkeypatch.setattr(lines_file, "os", _Os(kept))
    punch = LinesFile.punch

    def punched(file: LinesFile, place: int, size: int) -> None:
        kept.write(file.path, bytes(size), place)
        punch(file, place, size)

    monkeypatch.setattr(LinesFile, "punch", punched)
    vfs = _Vfs("forgetful", kept)
    yield kept
    vfs.unregister()


async def _steps(path: Path, disk: _Disk, to: Path, options: Options, seed: int) -> list[int]:
    """Uses a store and loses power between answers; gives what is missing after each loss."""
    chance = random.Random(seed)
    missing = []
    async with opened(path, options=options) as store:
        taken = 0
        for seq in range(worker.BATCHES):
            await store.push(numbered(seq, worker.mixed(seq)))
            if chance.random() < 0.4:
                leased = await pull(store, max=worker.LINES, lease=60.0)
                assert leased.lease is not None
                await store.ack("q", [leased.lease.id], None)
                taken += leased.lines
            image = to / f"{seed}-{seq}.db"
            disk.lose_power(path, image, chance)
            missing.append(await _missing(image, (seq + 1) * worker.LINES, taken))
    return missing


async def _missing(image: Path, pushed: int, taken: int) -> int:
    """How many of the answered steps' lines are not as they were; other harm fails."""
    async with opened(image) as store:
        if not await store.queues():
            return pushed
        stats = await store.stats("q", None)
        offset = stats.lines - stats.ready_lines
        missing: int = pushed - stats.lines + abs(taken - offset)
        while not isinstance(answer := await store.pull(PullRequest("q", max=3, wait=0)), Nothing):
            assert isinstance(answer, Pulled)
            assert answer.offset == offset
            assert answer.data == worker.mixed(offset // worker.LINES)
            offset += answer.lines
        assert offset == stats.lines
        return missing


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_answered_is_on_the_disk(
    path: Path, tmp_path: Path, disk: _Disk, seed: int
) -> None:
    missing = await _steps(path, disk, tmp_path, Options(vfs="forgetful"), seed)
    assert missing == [0] * worker.BATCHES


async def test_with_timed_syncs_some_may_be_lost_but_nothing_is_torn(
    path: Path, tmp_path: Path, disk: _Disk
) -> None:
    """Also shows that the test above can fail."""
    options = Options(vfs="forgetful", fsync="interval", sync_seconds=3600.0)
    missing = await _steps(path, disk, tmp_path, options, 1)
    assert any(missing)


class _Losses:
    """Loses power inside a run, again and again.

    Attributes:
        images: what each loss left, and what had been said by then.
        said: what the run says.
    """

    def __init__(self, disk: _Disk, path: Path, to: Path, chance: random.Random) -> None:
        self._disk, self._path, self._to, self._chance = disk, path, to, chance
        self._writes = chance.randrange(_EVERY)
        self.images: list[tuple[Path, list[list[str]]]] = []
        self.said: list[list[str]] = []

    def say(self, *words: object) -> None:
        self.said.append([str(word) for word in words])

    def before(self, what: str) -> None:
        self._writes += what == "write"
        if what == "write" and self._writes % _EVERY:
            return
        image = self._to / f"{len(self.images)}.db"
        # What is said by now was done before; more may be done than is said.
        self.images.append((image, list(self.said)))
        self._disk.lose_power(self._path, image, self._chance)

    async def run(self, fsync: Literal["always", "interval"]) -> None:
        self._disk.before = self.before
        options = Options(vfs="forgetful", fsync=fsync, sync_seconds=3600.0)
        async with opened(self._path, options=options) as store:
            await worker.run(store, self.say)
        self._disk.before = None
        assert [words[0] for words in self.said].count("acknowledged") == worker.BATCHES


@pytest.fixture
def losses(path: Path, tmp_path: Path, disk: _Disk, monkeypatch: pytest.MonkeyPatch) -> _Losses:
    worker.make_small(monkeypatch.setattr)
    return _Losses(disk, path, tmp_path, random.Random(SEED))


async def test_power_lost_inside_commits_and_checkpoints(losses: _Losses) -> None:
    await losses.run("always")
    assert len(losses.images) > 80
    for image, said in losses.images:
        try:
            async with opened(image) as store:
                await settle(store, account_of(said))
        except Exception as error:
            raise AssertionError((SEED, image.name, [words[:2] for words in said])) from error


async def test_power_lost_there_with_timed_syncs(losses: _Losses) -> None:
    """Some may be missing, but of lines that are there none are torn, foreign or twice."""
    await losses.run("interval")
    missing = []
    for image, said in losses.images:
        pushed = [words[0] for words in said].count("acknowledged") * worker.LINES
        taken = [words[0] for words in said].count("done") * worker.LINES
        missing.append(await _missing(image, pushed, taken))
    assert any(missing)


async def test_a_timed_sync_puts_all_on_the_disk(path: Path, tmp_path: Path, disk: _Disk) -> None:
    options = Options(vfs="forgetful", fsync="interval", sync_seconds=0.0)
    async with opened(path, options=options) as store:
        for seq in range(3):
            await store.push(numbered(seq, worker.mixed(seq)))
        await tidied(store)
        image = tmp_path / "image.db"
        disk.lose_power(path, image, random.Random(1))
        assert await _missing(image, 3 * worker.LINES, 0) == 0


async def test_space_is_given_back_only_when_what_was_in_it_is_gone_for_sure(
    path: Path, tmp_path: Path, disk: _Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With timed syncs, lines that were taken may be there again after a power loss."""
    monkeypatch.setattr(spare, "_KEEP", 0)
    async with opened(path, options=Options(vfs="forgetful")) as store:
        for seq in range(3):
            await store.push(numbered(seq, worker.mixed(seq)))
    relaxed = Options(vfs="forgetful", fsync="interval", sync_seconds=3600.0)
    async with opened(path, options=relaxed) as store:
        assert (await pull(store, max_bytes=1 << 30)).lines == 3 * worker.LINES
        await tidied(store)
        for seed in range(8):
            image = tmp_path / f"{seed}.db"
            disk.lose_power(path, image, random.Random(seed))
            async with opened(image) as left:
                ready = (await left.stats("q", None)).ready_lines
                assert ready in {0, 3 * worker.LINES}
                assert await pull_all(left) == b"".join(map(worker.mixed, range(ready // 3)))
    soon = Options(vfs="forgetful", fsync="interval", sync_seconds=0.0)
    async with opened(path, options=soon) as store:
        await store.push(numbered(3, b"small\n"))
        await tidied(store)
        assert size_of(Path(lines_file.lines_path(str(path)))) == 0
