"""Copies through servers whose limits are low."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from support.copies import batchq, said, start
from support.servers import ServerProcess, serving
from support.stream import assert_identical
from support.waiting import until, until_waiting

from batchq.model import GIB, MIB, PullAnswer, PullRequest
from batchq.stores.memory import MemoryStore
from batchq_client import Client
from batchq_client.copy import (
    CopyError,
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
    write_queue,
)
from batchq_client.copy.limits import LineLimit

MakeServer = Callable[..., ServerProcess]


@pytest.mark.parametrize("max_wait", ["0", "0.2"])
def test_a_reader_of_a_server_that_lets_nobody_wait_ends(
    make_server: MakeServer, tmp_path: Path, max_wait: str
) -> None:
    url = make_server("--max-wait", max_wait).url
    done = batchq("copy", "--until-idle", f"{url}/none", tmp_path / "d")
    assert done.returncode == 0, said(done)
    assert (tmp_path / "d").read_bytes() == b""
    done = batchq("copy", "--retries", "1", f"{url}/none", tmp_path / "e")
    assert done.returncode == 3, said(done)


class Counting(MemoryStore):
    """Counts the pulls."""

    def __init__(self) -> None:
        super().__init__()
        self.pulls = asyncio.Semaphore(0)

    async def pull(self, request: PullRequest) -> PullAnswer:
        self.pulls.release()
        return await super().pull(request)


async def test_a_server_that_is_about_to_end_is_not_taken_for_an_idle_one(tmp_path: Path) -> None:
    store = Counting()
    options = CopyOptions(wait=0.3, retries=1, retry_for=0.2)
    async with serving(store=store) as server:
        # From now on every pull is answered at once, whatever the server allows.
        store.drain()
        queue = QueueAddress(server.url, "q")
        reading = asyncio.create_task(
            read_queue(queue, PathAddress(tmp_path / "d"), options, Progress(), Summary("", ""))
        )
        for _ in range(3):
            await store.pulls.acquire()
    with pytest.raises(CopyError) as caught:
        await reading
    assert caught.value.exit_code == 1, "the server is away, and not the lines"


async def test_a_queue_that_is_deleted_while_it_is_read_or_written(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    os.mkfifo(source)
    async with serving() as server, Client(server.url) as client:
        queue = QueueAddress(server.url, "q")
        writing = asyncio.create_task(
            write_queue(PathAddress(source), queue, CopyOptions(), Progress(), Summary("", ""))
        )
        with await asyncio.to_thread(source.open, "wb", 0) as pipe:
            pipe.write(b"a\n")
            await until(server.store, "q", lambda stats: stats.lines == 1)
            reading = asyncio.create_task(
                read_queue(queue, PathAddress(target), CopyOptions(), Progress(), Summary("", ""))
            )
            await until(server.store, "q", lambda stats: stats.stored_bytes == 0)
            await until_waiting(server.store, "q", 1)
            await client.delete("q")
            await client.push("q", b"another life\n")
            pipe.write(b"b\n")
        for side, did in ((writing, "wrote to"), (reading, "read from")):
            with pytest.raises(CopyError, match=f"not the one any more that the copy {did}"):
                await side


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("end", [b"\nend\n", b""])
def test_a_line_that_no_queue_holds_is_found_before_anything_is_sent(
    make_server: MakeServer, tmp_path: Path, end: bytes, *, piped: bool
) -> None:
    server = make_server("--max-queue-bytes", "100000", "--max-body", "200000")
    # With the newline that the server adds, one byte too many.
    data = b"short\n" * 50_000 + b"x" * 100_000 + end
    source = tmp_path / "s"
    source.write_bytes(data)
    side = "-" if piped else source
    if piped:
        data = data.replace(b"short\n", b"", 49_999)
    done = batchq("copy", side, f"{server.url}/q", input=data if piped else None)
    assert done.returncode == 1
    for part in ("line ", "100000 bytes", "--max-queue-bytes"):
        assert part in said(done)
    assert "--max-body" not in said(done)
    if not piped:
        assert f"{source}: line 50001 has" in said(done)
        assert httpx.get(f"{server.url}/queues/q").status_code == 404, "nothing was sent"


def test_batches_are_no_larger_than_a_queue(make_server: MakeServer, tmp_path: Path) -> None:
    queue = f"{make_server('--max-queue-bytes', '100000').url}/q"
    source = tmp_path / "s"
    source.write_bytes(b"x" * 49_999 + b"\n" + b"y" * 49_999)
    done = batchq("copy", source, queue)
    assert done.returncode == 0, said(done)
    assert batchq("copy", queue, "-").stdout == source.read_bytes()


@pytest.mark.parametrize(
    ("length", "flags"),
    [
        (10, "--max-body"),
        (19, "--max-body"),
        (20, "--max-body and --max-queue-bytes"),
        (None, "--max-body"),
    ],
)
def test_the_flags_that_are_to_be_raised(length: int | None, flags: str) -> None:
    limit = LineLimit({"--max-body": 10, "--max-queue-bytes": 20}, last=10)
    assert limit.exceeded("s", 3, length).endswith(f"raise its {flags}")


def test_a_local_copy_of_a_line_above_the_default_of_servers(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"short\n" + b"x" * (65 * MIB) + b"\nshort")
    done = batchq("copy", source, target)
    assert done.returncode == 0, said(done)
    assert_identical(source, target)


def test_a_local_copy_names_no_flag_that_it_has_not(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    with source.open("wb") as file:
        file.truncate(GIB + 1)  # NULs, that take no room
    done = batchq("copy", source, target)
    assert done.returncode == 1
    assert said(done) == (
        f"batchq: {source}: line 1 has {GIB + 1} bytes, and a local copy takes at most {GIB} "
        "with the line's end\n"
    )
    assert not target.exists()


def records(home: Path) -> list[Path]:
    return list((home / "batchq" / "copies").iterdir())


def test_a_copy_that_fails_before_it_writes_leaves_no_record(
    make_server: MakeServer, tmp_path: Path, state_home: Path
) -> None:
    source = tmp_path / "s"
    source.write_bytes(b"x" * 1000)
    away = batchq("copy", "--retry-for", "0.1", source, "http://127.0.0.1:1/q")
    long = batchq("copy", source, f"{make_server('--max-body', '100').url}/q")
    assert (away.returncode, long.returncode) == (1, 1)
    assert records(state_home) == []


def test_the_record_of_an_earlier_copy_outlives_one_that_never_began(
    make_server: MakeServer, tmp_path: Path, state_home: Path
) -> None:
    source = tmp_path / "s"
    source.write_bytes(b"line\n" * 100_000)
    server = make_server("--max-queue-bytes", "100000")
    # It fills the queue, waits for room, and is killed.
    writer = start("copy", "--batch-bytes", "50000", source, f"{server.url}/q")
    while (
        not (answer := httpx.get(f"{server.url}/queues/q")).is_success
        or answer.json()["stored_bytes"] < 100_000
    ):
        assert writer.poll() is None
    writer.kill()
    writer.communicate()
    (record,) = records(state_home)
    kept = record.read_bytes()
    server.kill()
    for flags in ((), ("--resume",)):
        done = batchq("copy", *flags, "--retry-for", "0.1", source, f"{server.url}/q")
        assert done.returncode == 1
        assert record.read_bytes() == kept
