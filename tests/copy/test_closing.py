"""How a writer closes its queue: behind its last batch, whoever else writes, also when resumed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from support.copies import start
from support.holding import holding
from support.proxy import Proxy
from support.servers import LocalServer, serving
from support.waiting import until

from batchq_client import Client, Numbering, Pulled
from batchq_client.copy import (
    CopyError,
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    write_queue,
)
from batchq_client.copy.writer import QueueWriter
from batchq_client.lines import Cut
from batchq_client.model import ProducerState, QueueStats

DATA = b"a\nb\nc"


@pytest.fixture
async def local() -> AsyncIterator[LocalServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def client(local: LocalServer) -> AsyncIterator[Client]:
    async with Client(local.url) as made:
        yield made


async def content(client: Client) -> bytes:
    answer = await client.pull("q", wait=5)
    assert isinstance(answer, Pulled)
    return answer.data


async def test_a_distant_writers_end_reaches_a_stream_in_time(
    local: LocalServer, tmp_path: Path
) -> None:
    source = tmp_path / "s"
    source.write_bytes(DATA)
    # As long as a newline is held for the end to follow: an answer would come too late.
    async with Proxy(local.address, latency=0.5) as proxy:
        reader = start("copy", "--linger", "0.5", f"{local.url}/q", "-")
        queue = QueueAddress(proxy.url, "q")
        await write_queue(
            PathAddress(source), queue, CopyOptions(), Progress(), summary := Summary("", "")
        )
        out, err = await asyncio.to_thread(reader.communicate, None, 60)
    assert (reader.returncode, out, err) == (0, DATA, b"")
    assert summary.closed


async def test_a_close_does_not_wait_for_answers(local: LocalServer) -> None:
    async with holding(local.url, 2, body=False) as (client, released):
        writer = QueueWriter(client, "q", CopyOptions(), Progress())
        await writer.open()
        await writer.push(Cut(b"a\n", 1))
        await writer.push(Cut(b"b", 1))
        closing = asyncio.create_task(writer.close("xxh3-128:" + "0" * 32, unterminated=True))
        stats = await until(local.store, "q", lambda stats: stats.closed)
        assert (stats.lines, stats.bytes, stats.digest) == (2, 4, "xxh3-128:" + "0" * 32)
        assert not closing.done(), "it is not content before all its batches are answered"
        released.set()
        assert (await closing).unterminated


async def test_a_close_is_never_before_its_lines(local: LocalServer) -> None:
    async with holding(local.url, 1, body=True) as (client, released):
        writer = QueueWriter(client, "q", CopyOptions(), Progress())
        await writer.open()
        await writer.push(Cut(b"first\n", 1))
        await writer.push(Cut(b"second\n", 1))
        closing = asyncio.create_task(writer.close(None, unterminated=False))
        stats = await until(local.store, "q", lambda stats: stats.parked_pushes == 2)
        assert (stats.closed, stats.lines) == (False, 0)
        released.set()
        assert (await closing).lines == 2
        assert await content(client) == b"first\nsecond\n"


async def test_a_close_whose_batch_failed_is_given_up(local: LocalServer) -> None:
    async with holding(local.url, 1, body=True) as (client, released):
        writer = QueueWriter(client, "q", CopyOptions(), Progress())
        await writer.open()
        await writer.push(Cut(b"first\n", 1))
        closing = asyncio.create_task(writer.close(None, unterminated=False))
        await until(local.store, "q", lambda stats: stats.parked_pushes == 1)
        await client.push("q", b"", numbering=Numbering(writer.producer, 1, 0))
        released.set()
        with pytest.raises(Exception, match="epoch 1 of producer"):
            await closing
        assert not (await client.queue("q")).closed


async def test_a_line_of_somebody_else_behind_the_last_one(
    local: LocalServer, client: Client, tmp_path: Path
) -> None:
    pipe = tmp_path / "s"
    os.mkfifo(pipe)
    progress, summary = Progress(), Summary("", "")
    queue = QueueAddress(local.url, "q")
    writing = asyncio.create_task(
        write_queue(PathAddress(pipe), queue, CopyOptions(), progress, summary)
    )
    with await asyncio.to_thread(pipe.open, "wb", 0) as file:
        file.write(b"a\nb\n")
        await until(local.store, "q", lambda stats: stats.lines == 2)
        await client.push("q", b"other\n")
    await writing
    assert summary.closed
    assert "without a digest" in progress.warnings[0]
    assert "newline" not in progress.warnings[0]
    stats = await client.queue("q")
    assert (stats.closed, stats.digest, stats.lines) == (True, None, 3)
    assert await content(client) == b"a\nb\nother\n"


async def test_no_newline_is_taken_from_somebody_elses_line(client: Client) -> None:
    progress = Progress()
    writer = QueueWriter(client, "q", CopyOptions(), progress)
    await writer.open()
    await writer.push(Cut(b"a", 1))
    await writer.flush()
    await client.push("q", b"other\n")
    end = await writer.close("xxh3-128:" + "0" * 32, unterminated=True)
    assert (end.lines, end.digest, end.unterminated) == (2, None, False)
    assert "the newline that the last line of the source lacks" in progress.warnings[0]


async def test_lines_that_are_not_what_was_sent_are_not_closed_over(client: Client) -> None:
    writer = QueueWriter(client, "q", CopyOptions(), Progress())
    await writer.open()
    await writer.push(Cut(b"a\n", 1))
    await writer.flush()
    # Under its own number: as if the server had something else of it.
    await client.push("q", b"not mine\n", numbering=Numbering(writer.producer, 0, 2))
    await writer.push(Cut(b"b\n", 1))
    with pytest.raises(CopyError, match="counts 2 lines and 11 bytes"):
        await writer.close(None, unterminated=False)
    assert not (await client.queue("q")).closed


class Interrupted(Client):
    """Lets something happen behind its n-th question about the queue."""

    def __init__(self, url: str, questions: int, happens: Callable[[], Awaitable[None]]) -> None:
        super().__init__(url)
        self._questions = questions
        self._happens = happens

    async def queue(self, queue: str, *, queue_id: str | None = None) -> QueueStats:
        stats = await super().queue(queue, queue_id=queue_id)
        await self._asked()
        return stats

    async def producer(
        self, queue: str, producer: str, *, queue_id: str | None = None
    ) -> ProducerState | None:
        state = await super().producer(queue, producer, queue_id=queue_id)
        await self._asked()
        return state

    async def _asked(self) -> None:
        self._questions -= 1
        if self._questions == 0:
            await self._happens()


@pytest.mark.parametrize("questions", [1, 2])
async def test_an_earlier_writers_close_that_comes_while_it_is_resumed(
    local: LocalServer, client: Client, questions: int
) -> None:
    async def number(seq: int, data: bytes) -> None:
        await client.push("q", data, numbering=Numbering("early", 0, seq))

    async def ends() -> None:
        await number(2, b"b\n")
        await client.close("q", lines=2, total_bytes=4, numbering=Numbering("early", 0, 3))

    await number(0, b"")
    await number(1, b"a\n")
    async with Interrupted(local.url, questions, ends) as resuming:
        writer = QueueWriter(resuming, "q", CopyOptions(), Progress())
        stats = await writer.resume("early", None)
    assert stats is not None
    assert (stats.closed, stats.lines, writer.lines, writer.bytes) == (True, 2, 2, 4)
    assert writer.alone
