"""A primary fails and its replica takes its place, while copies go through two servers.

What was not replicated is gone, and a copy that lost something says so.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from faults.peers import Reader, Writer, patient_client
from support.accounting import Account
from support.proxy import proxy_in_thread
from support.redis_servers import (
    Cluster,
    RedisServer,
    Sentinels,
    cluster,
    sentinels,
    until,
)
from support.servers import ServerProcess
from support.shared import Copies, accounted

Two = tuple[ServerProcess, ServerProcess]
Start = Callable[[str], Two]
Servers = Sentinels | Cluster
KEY = "batchq:{q}"


@pytest.fixture(params=["sentinel", "cluster"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    make = sentinels if request.param == "sentinel" else cluster
    with make(appendonly="yes", appendfsync="always") as started:
        yield started


def primary(servers: Servers) -> RedisServer:
    return servers.primary if isinstance(servers, Sentinels) else servers.primary_of(KEY)


def wait_for_failover(servers: Servers, old: RedisServer) -> None:
    if isinstance(servers, Sentinels):
        servers.wait_for_failover(old)
    else:
        servers.wait_for_failover(old, KEY)


def replicated(server: RedisServer) -> bool:
    """Whether a replica has all that its primary has."""
    told = server.info("replication")
    replica = told.get("slave0")
    return replica is not None and replica["offset"] == told["master_repl_offset"]


def test_a_copy_outlives_a_primary_that_is_killed(
    servers: Servers, two_on: Start, tmp_path: Path
) -> None:
    first, second = two_on(f"{servers.url}?timeout=1")
    with Copies(first.url, second.url, tmp_path) as copies:
        copies.wait_for(1 / 3)
        assert copies.running
        old = primary(servers)
        old.kill()
        wait_for_failover(servers, old)
        copies.assert_identical_or_told()
    assert primary(servers) is not old


def test_a_copy_outlives_a_primary_that_stands_still(
    servers: Servers, two_on: Start, tmp_path: Path
) -> None:
    """It is taken for dead, and comes back when another has its place."""
    first, second = two_on(f"{servers.url}?timeout=1")
    with Copies(first.url, second.url, tmp_path) as copies:
        copies.wait_for(1 / 3)
        old = primary(servers)
        old.pause()
        wait_for_failover(servers, old)
        old.resume()
        copies.assert_identical_or_told()


@pytest.mark.parametrize("harm", [RedisServer.kill, RedisServer.pause])
async def test_what_a_replica_had_survives(
    servers: Servers, two_on: Start, harm: Callable[[RedisServer], None]
) -> None:
    """All that was answered before, and all that is answered after; in the same life."""
    first, second = two_on(f"{servers.url}?timeout=1")
    data = [b"".join(b"%d,%d\n" % (seq, line) for line in range(200)) for seq in range(20)]
    account = Account()
    async with patient_client(first.url) as into, patient_client(second.url) as out:
        writer = Writer(into, account, "q")
        for seq in range(10):
            assert (await writer.push(seq, data[seq])).status_code == 200
        life = writer.queue_id
        old = primary(servers)
        await asyncio.to_thread(until, lambda: replicated(old), "replication")
        harm(old)
        await asyncio.to_thread(wait_for_failover, servers, old)
        for seq in range(10, len(data)):
            answer = await writer.push(seq, data[seq])
            assert (answer.status_code, answer.headers["queue-id"]) == (200, life), answer.text
        assert (await writer.close(len(data), bytes=sum(map(len, data)))).is_success
        await Reader(out, account, "q", random.Random(1), 0.4, forgetful=0.1).read_all()
    if harm is RedisServer.pause:
        old.resume()
    report = account.report()
    report.assert_clean()
    assert report.batches == len(data)


async def test_a_failover_that_was_asked_for_loses_nothing(servers: Servers, two_on: Start) -> None:
    """The primary waits for its replica before it gives its place up."""
    both = two_on(f"{servers.url}?timeout=1")
    old = primary(servers)

    async def strike(seq: int) -> None:
        if seq == 8:
            await asyncio.to_thread(hand_over, servers, old)

    await accounted([server.url for server in both], "q", 3, strike)
    assert primary(servers) is not old


def hand_over(servers: Servers, old: RedisServer) -> None:
    if isinstance(servers, Sentinels):
        replica = next(server for server in servers.servers if server is not old)
        # What `FAILOVER` (since 6.2) does: it stops writes until the replica has all.
        old.ask("FAILOVER", "TO", "127.0.0.1", str(replica.port))
        until(lambda: replica.ask("ROLE")[0] == b"master", "a failover")
        servers.wait_for_failover(old)
    else:
        number = servers.nodes.index(old)
        servers.nodes[(number + 3) % 6].ask("CLUSTER", "FAILOVER")
        servers.wait_for_failover(old, KEY)


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica, without anybody who watches over them."""
    with (
        RedisServer(repl_diskless_sync_delay=0) as first,
        RedisServer(repl_diskless_sync_delay=0, replicaof=f"127.0.0.1 {first.port}") as second,
    ):
        until(lambda: replicated(first), "replication")
        yield first, second


@pytest.mark.parametrize("when", [0.3, 0.6])
def test_a_failover_that_loses_writes_is_told(
    pair: tuple[RedisServer, RedisServer], two_on: Start, tmp_path: Path, when: float
) -> None:
    """The replica is promoted as it was a while before the primary fails."""
    first, second = pair
    with proxy_in_thread(first.address) as proxy:
        host, port = proxy.address
        servers = two_on(f"redis://{host}:{port}?timeout=1")
        # The server waits for the batch before (30 s), which nobody sends again; the reader waits
        # for the end.
        patience = ("--retry-for", "1", "--retries", "2")
        with Copies(servers[0].url, servers[1].url, tmp_path, *patience) as copies:
            copies.wait_for(when)
            second.ask("REPLICAOF", "NO", "ONE")
            copies.wait_for(when + 0.2)
            assert copies.running
            first.kill()
            proxy.retarget(second.address)
            errors = copies.assert_identical_or_told()
    assert errors, "lines that were answered for are gone, and nobody said so"


def test_what_is_left_after_a_loss_has_another_id(
    pair: tuple[RedisServer, RedisServer], two_on: Start
) -> None:
    """The totals go back, and in one life no offset is given twice."""
    first, second = pair
    with proxy_in_thread(first.address) as proxy:
        host, port = proxy.address
        server, _ = two_on(f"redis://{host}:{port}?timeout=1")

        def push() -> httpx.Response:
            return httpx.post(f"{server.url}/push/q", content=b"a\n", timeout=30)

        before = [push() for _ in range(3)][-1]
        until(lambda: replicated(first), "replication")
        second.ask("REPLICAOF", "NO", "ONE")
        assert [push().headers["batch-offset"] for _ in range(3)] == ["3", "4", "5"]
        first.kill()
        proxy.retarget(second.address)
        give_up = time.monotonic() + 30
        while not (after := push()).is_success:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert after.headers["batch-offset"] == "3"
        assert after.headers["queue-id"] != before.headers["queue-id"]
        pinned = {"Queue-Id": before.headers["queue-id"]}
        told = httpx.post(f"{server.url}/pull/q", headers=pinned)
        assert (told.status_code, told.json()["code"]) == (409, "queue-replaced")
        assert [
            each["queue_id"] for each in httpx.get(f"{server.url}/queues").json()["queues"]
        ] == [after.headers["queue-id"]]
    assert "Redis has lost changes" in server.stderr


def test_without_its_replica_a_primary_takes_no_writes(
    pair: tuple[RedisServer, RedisServer], two_on: Start
) -> None:
    """With `min-replicas-to-write`, which bounds what a failover can lose."""
    first, second = pair
    first.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    first.ask("CONFIG", "SET", "min-replicas-max-lag", "1")
    server, _ = two_on(first.url)
    assert httpx.post(f"{server.url}/push/q", content=b"a\n").is_success
    second.kill()
    give_up = time.monotonic() + 30
    while (answer := httpx.post(f"{server.url}/push/q", content=b"b\n")).is_success:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert answer.status_code == 503
    assert "min-replicas-to-write" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    second.start()
    while not httpx.post(f"{server.url}/push/q", content=b"c\n").is_success:
        assert time.monotonic() < give_up
        time.sleep(0.05)
