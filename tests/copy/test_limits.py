"""Copies through servers whose limits are low."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.copies import batchq, said
from support.servers import ServerProcess, serving
from support.waiting import until, until_waiting

from batchq.model import PullAnswer, PullRequest
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
