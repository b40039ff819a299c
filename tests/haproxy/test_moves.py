"""The documented way to add a shard, word by word, with clients at work meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
from support.copies import batchq, environment
from support.documented import Documented, is_gone, lines, queues_of, unheld
from support.haproxy import wait_until
from support.problems import problem_of
from support.stream import assert_identical

from batchq_client import Client, Numbering
from batchq_client.errors import QueueReplaced


async def test_a_shard_is_added_as_the_page_says(page: Documented, tmp_path: Path) -> None:
    page.run(page.start)
    page.up("a", "b", "c")
    printed = page.run(page.prepare)
    was, after = page.layout("was.cfg"), page.layout("next.cfg")
    moving = [slot for slot in range(1024) if was.owners[slot] != after.owners[slot]]
    assert len(moving) == 256
    assert printed.count("slots 256-341: a -> d") == 2  # by both commands
    names = [f"q{number}" for number in range(200)]
    moved = [name for name in names if was.shard_of(name) != after.shard_of(name)]
    stays = [name for name in names if was.shard_of(name) == after.shard_of(name)]
    assert len(moved) > 10

    # What is there: an open queue with lines, one that was written and closed, one half read.
    (tmp_path / "whole").write_bytes(lines("whole", 20_000) + b"no newline")
    opened, closed, half = moved[:3]
    assert batchq("copy", "--quiet", tmp_path / "whole", f"{page.url}/{closed}").returncode == 0
    async with Client(page.url) as client:
        await client.push(opened, lines("open", 3_000))
        await client.push(half, lines("half", 100))
        await client.pull(half, maximum=40)
        await client.close(half)
        busy = await client.push(moved[3], b"1\n", numbering=Numbering("w", 0, 0))

        # A copy between queues that stay goes on through all of it.
        (tmp_path / "other").write_bytes(lines("other", 60_000))
        writer, reader = await copying(page.url, stays[0], tmp_path)

        await asyncio.to_thread(page.run, page.hold)
        await only_held(page.url, [opened, closed, half], stays[:5])
        said = await asyncio.to_thread(page.run, page.move)
        for name in (opened, closed, half, moved[3]):
            assert f"{name}: moved" in said
        await asyncio.to_thread(page.run, page.move)  # again is no harm
        await asyncio.to_thread(page.run, page.use)
        page.up("a", "b", "c", "d")

        await unheld(client, opened)
        assert not (await client.queue(opened)).closed
        assert (await client.queue(closed)).closed
        # Nothing is left behind, and all is there, in order.
        homes = {name: shard for shard in "abcd" for name in await queues_of(page.url, shard)}
        assert homes == {name: after.shard_of(name) for name in homes}
        assert homes[opened] == "d"
        target = tmp_path / "copy"
        done = batchq("copy", "--quiet", f"{page.url}/{closed}", target)
        assert done.returncode == 0, done.stderr
        assert_identical(tmp_path / "whole", target)
        got = await client.pull(opened, max_bytes=2**20, wait=0)
        assert getattr(got, "data", None) == lines("open", 3_000)
        rest = await client.pull(half, max_bytes=2**20, wait=0)
        assert getattr(rest, "data", None) == b"".join(lines("half", 100).splitlines(True)[40:])
        await client.push(opened, b"more\n")

        await told_of_the_move(client, moved[3], busy.queue_id)
    (tmp_path / "end").touch()
    for copy in (writer, reader):
        _, errors = await asyncio.wait_for(copy.communicate(), 60)
        assert copy.returncode == 0, errors
    assert_identical(tmp_path / "other", tmp_path / "other.copy")


async def told_of_the_move(client: Client, queue: str, queue_id: str) -> None:
    """Who speaks to the life from before is told that it is over."""
    with pytest.raises(QueueReplaced):
        await client.push(queue, b"2\n", numbering=Numbering("w", 0, 1), queue_id=queue_id)
    with pytest.raises(QueueReplaced):
        await client.pull(queue, wait=0, queue_id=queue_id)


async def only_held(url: str, held: list[str], others: list[str]) -> None:
    """Checks what is told of queues that are being moved, and of others."""
    async with httpx.AsyncClient(base_url=url, http1=False, http2=True) as http:
        for name in held:
            for call in ("push", "pull", "close"):
                told = await http.post(f"/{call}/{name}")
                problem_of(told, 503, "queue-moving")
                assert told.headers["retry-after"] == "5"
        for name in others:
            assert (await http.get(f"/queues/{name}")).status_code in (200, 404)


async def copying(
    url: str, queue: str, folder: Path
) -> tuple[asyncio.subprocess.Process, asyncio.subprocess.Process]:
    """A slow writer and its reader, under way: the file is handed over bit by bit.

    The last bit waits until there is a file ``end``, for as long as that takes.
    """
    slow = (
        "import os, sys, time\n"
        "lines = open(sys.argv[1], 'rb').readlines()\n"
        "for at in range(0, len(lines), 3000):\n"
        "    while at + 3000 >= len(lines) and not os.path.exists('end'): time.sleep(0.05)\n"
        "    sys.stdout.buffer.writelines(lines[at:at + 3000])\n"
        "    sys.stdout.buffer.flush(); time.sleep(0.25)\n"
    )
    python = sys.executable
    command = f'{python} -c "$SLOW" other | {python} -m batchq copy --quiet - {url}/{queue}'
    writer = await asyncio.create_subprocess_exec(
        "bash", "-c", f"set -o pipefail; {command}",
        cwd=folder, env=environment({"SLOW": slow}), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "batchq", "copy", "--quiet", "--retries", "100",
        f"{url}/{queue}", "other.copy",
        cwd=folder, env=environment(), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.to_thread(wait_until, partial(_is_there, folder / "other.copy.part"))
    return writer, reader


def _is_there(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


async def test_busy_queues_stay_and_their_copies_go_on(page: Documented, tmp_path: Path) -> None:
    page.run(page.start)
    page.up("a", "b", "c")
    page.run(page.prepare)
    was, after = page.layout("was.cfg"), page.layout("next.cfg")
    names = [f"q{number}" for number in range(200)]
    busy, resting, gone = [n for n in names if was.shard_of(n) != after.shard_of(n)][:3]

    (tmp_path / "other").write_bytes(lines("other", 60_000))
    writer, reader = await copying(page.url, busy, tmp_path)
    pinned_writer, pinned_reader = await copying(page.url, gone, _folder(tmp_path, "gone"))
    async with Client(page.url) as client:
        await client.push(resting, b"rests\n")
        await asyncio.to_thread(page.run, page.prepare.replace("--was", f"--stay {busy} --was"))
        assert page.layout("next.cfg").shard_of(busy) == was.shard_of(busy)
        await asyncio.to_thread(page.run, page.hold)
        said = await asyncio.to_thread(page.run, page.move)
        assert f"{resting}: moved" in said
        assert f"{busy}: " not in said
        await asyncio.to_thread(page.run, page.use)
        page.up("d")
        await unheld(client, resting)
        assert getattr(await client.pull(resting, wait=0), "data", None) == b"rests\n"
    for folder in (tmp_path, tmp_path / "gone"):
        (folder / "end").touch()
    for copy in (writer, reader):
        _, errors = await asyncio.wait_for(copy.communicate(), 60)
        assert copy.returncode == 0, errors
    assert_identical(tmp_path / "other", tmp_path / "other.copy")
    # A copy whose queue was moved ends, and says why.
    for copy in (pinned_writer, pinned_reader):
        _, errors = await asyncio.wait_for(copy.communicate(), 60)
        assert copy.returncode == 1
        assert b" is not the one any more" in errors, errors

    # Once it has ended, the queue that stayed is settled, and nothing is special any more.
    shards = re.findall(r"--shard (\S+?)[\s\"]", page.prepare)
    flags = [word for shard in shards for word in ("--shard", shard)]
    done = batchq(
        "haproxy", *flags, "--was", tmp_path / "next.cfg", "--settle", busy,
        "--output", tmp_path / "settled.cfg",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert page.layout("settled.cfg") == after


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    (folder / "other").write_bytes((parent / "other").read_bytes())
    return folder


async def test_the_hold_is_over_when_every_old_process_has_gone(
    page: Documented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two old processes, one with a poll: nothing may be moved before that has ended."""
    page.run(page.start)
    page.up("a", "b", "c")
    page.run(page.prepare)
    # The page's sleep, which tells that it was called.
    shims = _shim(tmp_path, "sleep", 'echo >> "$SLEPT"; exec /bin/sleep "$@"')
    slept = tmp_path / "slept"
    monkeypatch.setenv("SLEPT", str(slept))
    master = int((tmp_path / "haproxy.pid").read_text())
    queue = next(f"q{n}" for n in range(999) if page.layout("was.cfg").shard_of(f"q{n}") == "a")
    async with httpx.AsyncClient(base_url=page.url, timeout=60.0) as http:
        (polled,) = _children(master)
        assert (await http.post(f"/push/{queue}")).is_success
        poll = asyncio.create_task(http.post(f"/pull/{queue}?wait=50&lease=9"))
        await _waiting(f"http://127.0.0.1:{page.ports['8101']}", queue)
        os.kill(master, signal.SIGUSR2)
        await asyncio.to_thread(wait_until, lambda: len(_children(master)) == 2 and _hears(master))
        holding = asyncio.create_task(asyncio.to_thread(page.run, page.hold, path=shims))
        (resting,) = _children(master) - {polled}
        await asyncio.to_thread(wait_until, partial(is_gone, resting))

        calls = len(slept.read_text()) if slept.exists() else 0

        def goes_on() -> bool:
            return holding.done() or (slept.exists() and len(slept.read_text()) > calls + 2)

        await asyncio.to_thread(wait_until, goes_on)
        assert not holding.done()
        assert not is_gone(polled)
        async with Client(f"http://127.0.0.1:{page.ports['8101']}") as direct:
            await direct.push(queue, b"1\n")
        assert (await poll).content == b"1\n"
    await holding
    assert is_gone(polled)


def _shim(folder: Path, name: str, does: str) -> Path:
    (folder / "shims").mkdir()
    shim = folder / "shims" / name
    shim.write_text(f"#!/bin/sh\n{does}\n")
    shim.chmod(0o755)
    return shim.parent


def _children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _hears(master: int) -> bool:
    """The master has started anew, and takes signals."""
    status = Path(f"/proc/{master}/status").read_text()
    masks = dict(re.findall(r"^Sig(Blk|Cgt):\t(\w+)$", status, re.MULTILINE))
    bit = 1 << (signal.SIGUSR2 - 1)
    return bool(int(masks["Cgt"], 16) & ~int(masks["Blk"], 16) & bit)


async def _waiting(url: str, queue: str) -> None:
    """Waits until a pull waits at a shard."""
    async with Client(url) as direct, asyncio.timeout(30):
        while True:
            if (await direct.queue(queue)).waiting_pulls:
                return
            await asyncio.sleep(0.01)


async def test_a_move_that_failed_is_made_again(page: Documented) -> None:
    """As the page says: the same block again, which writes the script anew."""
    page.run(page.start)
    page.up("a", "b", "c")
    page.run(page.prepare)
    was, after = page.layout("was.cfg"), page.layout("next.cfg")
    names = [f"q{n}" for n in range(400) if was.shard_of(f"q{n}") != after.shard_of(f"q{n}")]
    taken, other, shut = names[:3]
    target = f"http://127.0.0.1:{page.ports['8104']}"
    async with Client(page.url) as client, Client(target) as direct:
        for name in (taken, other, shut):
            await client.push(name, lines(name, 500))
        await client.close(shut)
        for name in (taken, shut):
            await direct.push(name, b"not of a move\n")
        await asyncio.to_thread(page.run, page.hold)
        said = await asyncio.to_thread(page.run, page.move, status=1)
        assert f"{other}: moved" in said
        for name in (taken, shut):
            assert f"{name}: not moved: {target} has a queue of this name" in said
            await direct.delete(name)
        said = await asyncio.to_thread(page.run, page.move)
        assert f"{other}: " not in said
        for name in (taken, shut):
            assert f"{name}: moved" in said
        await asyncio.to_thread(page.run, page.use)
        page.up("d")
        for name in (taken, other, shut):
            await unheld(client, name)
            assert (await client.queue(name)).closed == (name == shut)
            got = await client.pull(name, max_bytes=2**20, wait=0)
            assert getattr(got, "data", None) == lines(name, 500)
