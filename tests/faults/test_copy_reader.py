"""Readers that are slow, that share, and servers that go away while they read."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest
from faults.copying import QUICK
from support.copies import start
from support.faults import Fault, Kind, Way
from support.holding import holding
from support.proxy import Proxy, address_of, proxy_in_thread
from support.servers import ServerProcess, serving
from support.stream import assert_identical
from support.waiting import until

from batchq_client import Client, Pulled
from batchq_client.copy import (
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
    write_queue,
)
from batchq_client.copy.commits import Mark
from batchq_client.copy.reader import QueueReader
from batchq_client.copy.writer import QueueWriter
from batchq_client.lines import Cut

MANY = CopyOptions(in_flight=8)
LINES = [b"%06d of a file\n" % number for number in range(20_000)]


class Slow:
    """Takes lines, and sleeps in between, with nothing else going on in its process."""

    def __init__(self) -> None:
        self.batches: list[Pulled] = []
        self.sleeps = 0

    async def deliver(self, batch: Pulled) -> None:
        self.batches.append(batch)

    async def secure(self, mark: Mark | None) -> None:
        assert mark is not None
        assert mark.lines <= sum(batch.lines for batch in self.batches)

    async def acknowledged(self) -> None:
        pass


async def filled(url: str, queue: str) -> Client:
    client = Client(url)
    for start_ in range(0, len(LINES), 500):
        await client.push(queue, b"".join(LINES[start_ : start_ + 500]))
    return client


async def test_a_lease_that_ran_out_while_its_reader_was_slow(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"".join(LINES))
    with ServerProcess() as server:
        client = await filled(server.url, "q")
        flags = ("--batch-bytes", "8KiB", "--lease", "0.3", "--wait", "1", "--in-flight", "2")
        async with Proxy(address_of(server.url)) as proxy:
            # Its answers stand still, so that it has leases when it is stopped itself.
            proxy.inject(Fault(Kind.DELAY, Way.TO_CLIENT, after=100_000, seconds=0.2))
            reader = start("copy", *flags, f"{proxy.url}/q", target)
            await proxy.struck()
            reader.send_signal(signal.SIGSTOP)
            while (await client.queue("q")).leases:  # noqa: ASYNC110  the server tells nobody
                await asyncio.sleep(0.05)
            reader.send_signal(signal.SIGCONT)
            await client.close("q", lines=len(LINES))
            out, err = await asyncio.to_thread(reader.communicate, None, 60)
        await client.aclose()
    assert (reader.returncode, out, err) == (0, b"", b"")
    assert_identical(source, target)


async def test_leases_are_extended_while_the_destination_is_slow() -> None:
    released = asyncio.Event()

    class Blocked(Slow):
        async def secure(self, mark: Mark | None) -> None:
            await released.wait()
            await super().secure(mark)

    async with serving() as server:
        client = await filled(server.url, "q")
        await client.close("q")
        receiver = Blocked()
        options = CopyOptions(batch_bytes=8192, lease=0.4, wait=0.2, retries=100)
        reader = QueueReader(client, "q", options)
        reading = asyncio.create_task(reader.run(receiver))
        for _ in range(10):
            await asyncio.sleep(0.1)  # two and a half times as long as a lease
        stats = await client.queue("q")
        assert (stats.leased_lines, stats.ready_lines) == (len(LINES), 0)
        released.set()
        await reading
        assert (await client.queue("q")).drained
        await client.aclose()
    assert reader.complete
    assert b"".join(batch.data for batch in receiver.batches) == b"".join(LINES)
    assert all(batch.deliveries == 1 for batch in receiver.batches)


async def test_a_reader_that_fails_gives_its_lines_back() -> None:
    class Broken(Slow):
        async def deliver(self, batch: Pulled) -> None:
            if batch.offset > 5000:
                raise OSError("broken")
            await super().deliver(batch)

    async with serving() as server:
        client = await filled(server.url, "q")
        reader = QueueReader(client, "q", QUICK)
        try:
            await reader.run(Broken())
        except OSError as error:
            assert str(error) == "broken"  # noqa: PT017  the state afterwards is what is tested
        stats = await client.queue("q")
        assert stats.leases == 0
        assert stats.ready_lines >= len(LINES) - 5600
        await client.aclose()


@pytest.mark.parametrize("way", list(Way))
async def test_connections_that_stand_still_for_a_while(tmp_path: Path, way: Way) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"".join(LINES))
    async with serving() as server, Proxy(server.address) as proxy:
        # In the middle of a body, on one connection of each side.
        proxy.inject(*[Fault(Kind.DELAY, way, after=30_000, seconds=0.5)] * 8)
        queue = QueueAddress(proxy.url, "q")
        await asyncio.gather(
            write_queue(PathAddress(source), queue, QUICK, Progress(), Summary("", "")),
            read_queue(queue, PathAddress(target), QUICK, Progress(), Summary("", "")),
        )
        assert proxy.counts[Kind.DELAY] >= 1
    assert_identical(source, target)


async def test_a_body_that_is_held_back_ends_in_its_place(tmp_path: Path) -> None:
    target = tmp_path / "d"
    async with serving() as server, Proxy(server.address) as proxy:
        queue = QueueAddress(server.url, "q")
        reading = asyncio.create_task(
            read_queue(queue, PathAddress(target), QUICK, Progress(), Summary("", ""))
        )
        async with holding(proxy.url, 3, body=True) as (client, released):
            writer = QueueWriter(client, "q", MANY, Progress())
            await writer.open()
            for line in LINES[:5]:
                await writer.push(Cut(line, 1))
            # Of batches 1 to 5, the last two have overtaken the third, and wait for it.
            await until(
                server.store, "q", lambda stats: (stats.parked_pushes, stats.lines) == (2, 2)
            )
            told = await client.queue("q")
            assert (told.parked_pushes, told.lines) == (2, 2)
            assert proxy.connections == 1
            released.set()
            await writer.close(None, unterminated=False)
            assert proxy.connections == 1, "all of it went over one connection"
        await reading
    assert target.read_bytes() == b"".join(LINES[:5])


async def test_two_readers_share_a_queue(tmp_path: Path) -> None:
    options = CopyOptions(batch_bytes=4096, in_flight=2, wait=1.0, shared=True)
    targets = [tmp_path / "a", tmp_path / "b"]
    summaries = [Summary("", ""), Summary("", "")]
    async with serving() as server:
        client = await filled(server.url, "q")
        await client.close("q")
        queue = QueueAddress(server.url, "q")
        await asyncio.gather(
            *(
                read_queue(queue, PathAddress(target), options, Progress(), summary)
                for target, summary in zip(targets, summaries, strict=True)
            )
        )
        await client.aclose()
    parts = [target.read_bytes().splitlines(keepends=True) for target in targets]
    assert all(parts), "both got some"
    assert all(part == sorted(part) for part in parts), "each in order"
    assert sorted(parts[0] + parts[1]) == LINES
    for summary, part in zip(summaries, parts, strict=True):
        assert summary.lines == len(part)
        assert not summary.digest_compared
        assert "went to other readers" in summary.warnings[0]


def lines_of(server: ServerProcess) -> int:
    """Lines that were pushed to its queue."""
    answer = httpx.get(f"{server.url}/queues/q")
    return int(answer.json()["lines"]) if answer.is_success else 0


def test_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"".join(LINES * 15) + b"end")
    flags = ("--batch-bytes", "8KiB", "--lease", "5", "--wait", "1", "--retries", "60")
    store = ("--store", f"sqlite:{tmp_path / 'queues.sqlite'}")
    server = ServerProcess(*store).start()
    try:
        with proxy_in_thread(address_of(server.url)) as proxy:
            sides = (source, f"{proxy.url}/q"), (f"{proxy.url}/q", target)
            both = [start("copy", *flags, *side) for side in sides]
            for part in range(1, 4):
                # In the middle of it: once the queue has had a part of the lines.
                while lines_of(server) < len(LINES) * 15 * part // 5:
                    time.sleep(0.01)
                assert any(process.poll() is None for process in both)
                server.kill()
                server = ServerProcess(*store).start()
                proxy.retarget(address_of(server.url))
            ends = [process.communicate(timeout=90) for process in both]
    finally:
        server.stop()
    assert [process.returncode for process in both] == [0, 0], ends
    assert_identical(source, target)


def test_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"".join(LINES))
    with ServerProcess() as server, proxy_in_thread(address_of(server.url)) as proxy:
        proxy.refuse()
        sides = (source, f"{proxy.url}/q"), (f"{proxy.url}/q", target)
        both = [start("copy", *side) for side in sides]
        for process in both:
            # Without a server a copy has nothing to do but to wait for it.
            assert process.poll() is None
        proxy.accept()
        ends = [process.communicate(timeout=60) for process in both]
    assert ends == [(b"", b""), (b"", b"")]
    assert_identical(source, target)
