"""What is at its limit, or hangs, is told so, and nobody else is in its way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.clients import client_of
from support.haproxy import Cluster
from support.problems import problem_of

from batchq_client.transport import MultiplexTransport


def through(url: str) -> httpx.AsyncClient:
    """A client with one connection for all its requests, as ``batchq copy`` has it."""
    return httpx.AsyncClient(base_url=url, transport=MultiplexTransport(), timeout=60.0)


async def until_waiting(url: str, queue: str, pulls: int) -> None:
    """Waits until so many pulls wait at a shard."""
    async with client_of(url) as direct, asyncio.timeout(30):
        while True:
            if (await direct.get(f"/queues/{queue}")).json()["waiting_pulls"] == pulls:
                return
            await asyncio.sleep(0.01)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs for the length of the block: its port accepts, and nothing is said."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_pulls_that_wait_keep_nobody_from_pushing(tmp_path: Path) -> None:
    with Cluster(tmp_path, ["a"], max_connections=20, max_pulls=30) as cluster:
        async with through(cluster.url) as http, through(cluster.url) as other:
            assert (await http.post("/push/idle")).is_success
            polls = [asyncio.create_task(http.post("/pull/idle?wait=50")) for _ in range(30)]
            await until_waiting(cluster.shards["a"].url, "idle", 30)
            assert (await other.post("/push/other", content=b"1\n")).is_success
            # One more is told what the matter is; on a lease it is none of them.
            problem = problem_of(await other.post("/pull/idle?wait=0"), 429, "too-many-pulls")
            assert "30 pulls" in problem["detail"]
            leased = await other.post("/pull/other?wait=0&lease=9")
            assert leased.content == b"1\n"
            assert not any(poll.done() for poll in polls)
            assert (await other.post("/push/idle", content=b"1\n" * 30)).is_success
            assert (await other.post("/close/idle")).is_success
            assert {(await poll).status_code for poll in polls} <= {200, 204}


async def test_calls_beyond_their_limit_are_told_so(tmp_path: Path) -> None:
    with Cluster(tmp_path, ["a"], max_connections=3) as cluster:
        shard = cluster.servers["a"]
        async with through(cluster.url) as http:
            assert (await http.post("/push/q")).is_success
            with stopped(shard.pid):
                pushes = [
                    asyncio.create_task(http.post("/push/q", content=b"1\n")) for _ in range(20)
                ]
                answers = await asyncio.gather(*pushes)
            told = [answer for answer in answers if answer.status_code == 429]
            assert len(told) == 17
            assert "3 requests" in problem_of(told[0], 429, "too-many-calls")["detail"]
            cluster.wait("a", up=True)
            assert (await http.post("/push/q", content=b"1\n")).is_success


async def test_a_busy_shard_is_not_declared_dead(tmp_path: Path) -> None:
    """Clients ask for more at once than the shard has connections."""
    flags = ("--max-connections", "100")
    with Cluster(
        tmp_path, ["a"], flags, max_connections=16, max_pulls=10, shard_connections=100
    ) as cluster:
        async with asyncio.TaskGroup() as group:
            for _ in range(15):
                group.create_task(_crowd(cluster.url))
            # As many checks as would make it down, and more.
            await asyncio.sleep(2.0)
            cluster.wait("a", up=True)
        assert "Server shard_a/a is DOWN" not in cluster.haproxy.log
        assert "refused" not in cluster.servers["a"].stderr


async def _crowd(url: str) -> None:
    async with through(url) as http:
        polls = [http.post("/pull/q?wait=3&lease=9", timeout=60.0) for _ in range(30)]
        told = Counter([answer.status_code for answer in await asyncio.gather(*polls)])
        assert set(told) <= {200, 204, 503}


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("hanging"), ["a", "b"]) as running:
        yield running


async def test_a_shard_that_hangs_holds_up_others_only_until_that_is_known(
    hanging: Cluster,
) -> None:
    mine, other = hanging.queue_on("b", "hang-"), hanging.queue_on("a", "hang-")
    number = {"Producer-Id": "w", "Producer-Epoch": "0"}
    async with through(hanging.url) as http, through(hanging.url) as direct:
        for queue in (mine, other):
            # Numbered, as the uploads are: they find their client's connection to the shard.
            begun = await http.post(
                f"/push/{queue}", content=b"1\n", headers={**number, "Producer-Seq": "0"}
            )
            assert begun.is_success
        empty = hanging.queue_on("b", "hang-empty-")
        assert (await direct.post(f"/push/{empty}")).is_success
        polled = asyncio.create_task(direct.post(f"/pull/{empty}?wait=50"))
        await until_waiting(hanging.shards["b"].url, empty, 1)
        with stopped(hanging.servers["b"].pid):
            body = (b"y" * 79 + b"\n") * 50_000
            uploads = [
                asyncio.create_task(
                    http.post(f"/push/{mine}", content=body,
                              headers={**number, "Producer-Seq": str(seq)})
                )
                for seq in range(1, 5)
            ]  # fmt: skip
            pull = asyncio.create_task(direct.post(f"/pull/{mine}?wait=0"))
            # While the uploads stand still, so may this one's other calls: they are one
            # connection. Nobody else's do.
            assert (await direct.get(f"/queues/{other}")).is_success
            assert (await http.get(f"/queues/{other}")).is_success
            for answer in await asyncio.gather(*uploads, pull, return_exceptions=True):
                told = getattr(answer, "status_code", None)
                assert told in (502, 503, 504) or isinstance(answer, httpx.RemoteProtocolError), (
                    answer
                )
            # What the shard had been told may be done yet.
            problem_of(await polled, 502, "internal-error")
            problem_of(await direct.get(f"/queues/{mine}"), 503, "shard-unavailable")
        hanging.wait("b", up=True)
        for seq in range(1, 5):
            headers = {**number, "Producer-Seq": str(seq)}
            again = await http.post(f"/push/{mine}", content=body, headers=headers)
            assert again.status_code in (200, 204)
        assert (await http.get(f"/queues/{mine}?producer=w")).json()["lines"] == 200_001
