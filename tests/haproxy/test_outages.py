"""Copies through the front, in and out, while a shard is killed, is away, and comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from faults.peers import Reader, Writer
from support.accounting import Account
from support.clients import client_of
from support.haproxy import Cluster
from support.problems import problem_of
from support.stream import assert_identical, digest_of

from batchq_client.copy import (
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
    write_queue,
)
from batchq_client.transport import MultiplexTransport

OPTIONS = CopyOptions(
    batch_bytes=4096, in_flight=4, wait=1.0, lease=3.0, retries=60, retry_for=60.0
)


@pytest.fixture(scope="module")
def frail(certfile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three shards that are killed and started again."""
    with Cluster(tmp_path_factory.mktemp("frail"), certfile=certfile) as running:
        yield running


def batches_of(seed: int, count: int) -> list[bytes]:
    chance = random.Random(seed)
    return [
        b"".join(b"%d.%d.%d %s\n" % (seed, number, line, chance.randbytes(8).hex().encode())
                 for line in range(chance.randrange(1, 30)))
        for number in range(count)
    ]  # fmt: skip


def through(url: str) -> httpx.AsyncClient:
    """A way through the front. Not stock httpx's: it ends a request without a body by a frame
    of its own, which HAProxy 2.6 forgets when it comes while a shard is being connected to."""
    return httpx.AsyncClient(base_url=url, transport=MultiplexTransport(), timeout=30.0)


async def accounted(url: str, queue: str, seed: int, disturb: asyncio.Event) -> None:
    """One writer and two readers, through the front; nothing is lost, twice or foreign."""
    account, batches = Account(), batches_of(seed, 120)
    async with through(url) as to_write, through(url) as to_read:
        writer = Writer(to_write, account, queue)
        readers = [
            Reader(to_read, account, queue, random.Random(f"{seed} {n}"), 2.0) for n in range(2)
        ]

        def before(seq: int) -> None:
            if seq == len(batches) // 3:
                disturb.set()

        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.read_all())
            await writer.push_all(batches, 4, before)
            closed = await writer.close(
                len(batches), bytes=sum(map(len, batches)), digest=digest_of(batches)
            )
            assert closed.is_success, closed.text
    report = account.report()
    report.assert_clean()
    assert report.batches == len(batches)
    assert report.digest == digest_of(batches)


async def copied(url: str, queue: str, folder: Path, seed: int) -> None:
    """A file into a queue and out of it, by `batchq copy`'s own engine."""
    source, target = folder / f"{seed}.source", folder / f"{seed}.target"
    source.write_bytes(b"".join(batches_of(seed, 3000)))
    there = QueueAddress(url, queue)
    async with asyncio.TaskGroup() as group:
        for copy in (
            write_queue(PathAddress(source), there, OPTIONS, Progress(), Summary("", "")),
            read_queue(there, PathAddress(target), OPTIONS, Progress(), Summary("", "")),
        ):
            group.create_task(copy)
    assert_identical(source, target)


@pytest.mark.parametrize("seconds", [0.0, 2.5])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_copies_while_one_shard_is_away(
    frail: Cluster,
    authority: trustme.CA,
    certfile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    seconds: float,
) -> None:
    """Copies to every shard; one is killed meanwhile, and started again at once or later."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certfile.with_name("ca.pem")))
    url = frail.url if scheme == "http" else frail.tls_url
    stem = f"away-{scheme}-{seconds}-"
    disturb = asyncio.Event()

    async def killer() -> None:
        await disturb.wait()
        await asyncio.to_thread(frail.kill, "b")
        if seconds:
            await asyncio.to_thread(frail.wait, "b", up=False)
            await others_go_on(frail, stem)
            await asyncio.sleep(seconds)
        await asyncio.to_thread(frail.start, "b")

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        group.create_task(killer())
        for seed, name in enumerate(frail.shards):
            queue = frail.queue_on(name, f"{stem}account-")
            unheard = disturb if name == "b" else asyncio.Event()
            group.create_task(accounted(frail.url, queue, seed, unheard))
            group.create_task(
                copied(url, frail.queue_on(name, f"{stem}copy-"), tmp_path, 10 + seed)
            )
    frail.wait("b", up=True)


async def others_go_on(cluster: Cluster, stem: str) -> None:
    """What is told of the dead shard's queues, while all others work."""
    async with client_of(cluster.url) as http:
        for path in ("push", "pull", "ack", "close"):
            answer = await http.post(f"/{path}/{cluster.queue_on('b', stem)}")
            problem = problem_of(answer, 503, "shard-unavailable")
            assert "shard b" in problem["detail"]
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["batchq-shard"] == "b"
        for name in ("a", "c"):
            queue = cluster.queue_on(name, stem)
            assert (await http.post(f"/push/{queue}", content=b"1\n")).is_success
            assert (await http.post(f"/pull/{queue}?wait=0")).content == b"1\n"
        answers = [await http.get("/healthz") for _ in range(6)]
        assert {answer.headers["batchq-shard"] for answer in answers} == {"a", "c"}
        asked = await http.get("/queues", params={"shard": "b"})
        problem_of(asked, 503, "shard-unavailable")


async def test_no_queue_of_a_dead_shard_begins_elsewhere(frail: Cluster) -> None:
    """Thirty queues, two of three shards dead: pushes are stored where they belong, or not."""
    queues = [f"split-{number}" for number in range(30)]
    homes = {queue: frail.layout.shard_of(queue) for queue in queues}
    assert set(homes.values()) == {"a", "b", "c"}
    for name in ("a", "b"):
        frail.kill(name)
        frail.wait(name, up=False)
    async with client_of(frail.url) as http:
        for queue, home in homes.items():
            answer = await http.post(f"/push/{queue}", content=b"1\n")
            assert answer.status_code == (200 if home == "c" else 503)
        for name in ("a", "b"):
            frail.start(name)
            frail.wait(name, up=True)
        for name in frail.shards:
            told = (await http.get("/queues", params={"shard": name})).json()["queues"]
            here = {one["queue"] for one in told} & set(queues)
            assert here == {q for q, home in homes.items() if home == name == "c"}


def test_no_shard_at_all_is_503(tmp_path: Path) -> None:
    with Cluster(tmp_path, ["a"]) as cluster:
        cluster.kill("a")
        cluster.wait("a", up=False)
        with httpx.Client(base_url=cluster.url, http1=False, http2=True) as http:
            for path in ("/queues", "/healthz", "/"):
                problem = problem_of(http.get(path), 503, "shard-unavailable")
                assert "no shard answers" in problem["detail"]


async def test_a_shard_that_dies_between_requests_is_503_at_once(frail: Cluster) -> None:
    """Before the health checks notice: the connection is refused, and nothing was done.

    Stock httpx is not told in some of the cases: it ends each request by a frame of its own, and
    when the answer comes before that, takes the reset that follows for the answer.
    """
    queue = frail.queue_on("a", "sudden-")
    async with through(frail.url) as http:
        assert (await http.post(f"/push/{queue}", content=b"1\n")).is_success
        frail.kill("a")
        for body in (b"", b"2\n", b"2\n" * 100_000):
            told = await http.post(f"/push/{queue}", content=body)
            problem_of(told, 503, "shard-unavailable")
        frail.start("a")
        frail.wait("a", up=True)
        assert (await http.post(f"/pull/{queue}?wait=0")).content == b"1\n"
