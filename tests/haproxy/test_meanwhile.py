"""What stays while slots move, and a shard that is taken out."""

from __future__ import annotations

import asyncio
import random
import re
from itertools import count

import httpx
from faults.peers import Reader, Writer
from support.accounting import Account
from support.documented import Documented, lines, queues_of, unheld
from support.stream import digest_of

from batchq_client import Client
from batchq_client.transport import MultiplexTransport


def through(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, transport=MultiplexTransport(), timeout=30.0)


async def test_a_queue_that_stays_is_written_and_read_meanwhile(page: Documented) -> None:
    """Nothing is lost, twice or out of place, through hold, move and the next configuration."""
    page.run(page.start)
    page.up("a", "b", "c")
    page.run(page.prepare)
    was, after = page.layout("was.cfg"), page.layout("next.cfg")
    names = [f"q{n}" for n in range(400)]
    stays = next(name for name in names if was.shard_of(name) == after.shard_of(name))
    moved = [name for name in names if was.shard_of(name) != after.shard_of(name)][:3]
    account, stored, over = Account(), list[bytes](), asyncio.Event()
    async with through(page.url) as to_write, through(page.url) as to_read:
        for name in moved:
            await to_write.post(f"/push/{name}", content=lines(name, 1_000))
        writer = Writer(to_write, account, stays)
        readers = [Reader(to_read, account, stays, random.Random(n), 2.0) for n in range(2)]

        async def write() -> None:
            for seq in count():
                if over.is_set():
                    break
                stored.append(lines(f"{seq}.", 1 + seq % 30))
                assert (await writer.push(seq, stored[-1])).is_success
            totals = {"bytes": sum(map(len, stored)), "digest": digest_of(stored)}
            assert (await writer.close(len(stored), **totals)).is_success

        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.read_all())
            group.create_task(write())
            for block in (page.hold, page.move, page.use):
                before = len(stored)
                await asyncio.to_thread(page.run, block)
                assert len(stored) > before
            over.set()
    report = account.report()
    report.assert_clean()
    assert report.batches == len(stored)
    assert report.digest == digest_of(stored)


async def test_a_shard_is_taken_out_as_the_page_says(page: Documented) -> None:
    page.run(page.start)
    page.up("a", "b", "c")
    names = [f"q{number}" for number in range(30)]
    async with Client(page.url) as client:
        for name in names:
            await client.push(name, lines(name, 20))
        await client.close(names[0])
        # The page's commands, with c left out and no shard added.
        _, *prepare = page.prepare.splitlines()
        less = re.sub(r" --shard [cd]=\S+?(?=[ \"])", "", "\n".join(prepare))
        printed = await asyncio.to_thread(page.run, less)
        assert set(re.findall(r": (\w) -> ", printed)) == {"c"}
        was, after = page.layout("was.cfg"), page.layout("next.cfg")
        assert set(after.owners) == {"a", "b"}
        await asyncio.to_thread(page.run, page.hold)
        said = await asyncio.to_thread(page.run, page.move)
        assert said.count(": moved") == sum(was.shard_of(name) == "c" for name in names) > 3
        await asyncio.to_thread(page.run, page.use)
        page.up("a", "b")
        page.stop("8103")
        homes = {name: shard for shard in "ab" for name in await queues_of(page.url, shard)}
        assert homes == {name: after.shard_of(name) for name in names}
        for name in names:
            await unheld(client, name)
            got = await client.pull(name, max_bytes=2**20, wait=0)
            assert getattr(got, "data", None) == lines(name, 20)
        assert (await client.queue(names[0])).drained
