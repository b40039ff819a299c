"""Two servers whose way to Redis fails: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from faults.peers import Writer, patient_client
from support.accounting import Account
from support.faults import ALL_KINDS, KIB, Fault, FaultPlan, Kind, Way, drop_answer
from support.proxy import Proxy
from support.redis_servers import RedisServer
from support.servers import LocalServer, ServerProcess, serving
from support.shared import accounted

from batchq.stores.redis import RedisStore

RUNS = 56
GROUPS = 14
BATCHES = 24


@asynccontextmanager
async def servers_through(
    proxy: Proxy, prefix: str, number: int = 2
) -> AsyncIterator[list[LocalServer]]:
    """Servers that reach Redis through a proxy only."""
    host, port = proxy.address
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                serving(store=RedisStore(f"redis://{host}:{port}?prefix={prefix}&timeout=1"))
            )
            for _ in range(number)
        ]


async def seeded_run(proxy: Proxy, urls: list[str], seed: int) -> Counter[Kind]:
    """Accounted traffic through faults; returns those that struck.

    Beside the plan's, whose bytes may never be reached, one of each kind is told to strike.
    """
    chance = random.Random(seed)
    proxy.plan = FaultPlan(seed, limit=6, skip=proxy.connections, span=48 * KIB, seconds=0.06)
    sure = dict(zip(chance.sample(range(1, BATCHES), len(ALL_KINDS)), ALL_KINDS, strict=True))
    before = proxy.counts

    async def strike(seq: int) -> None:
        if seq in sure:
            after, seconds = chance.randrange(60), chance.uniform(0.01, 0.06)
            proxy.inject(Fault(sure[seq], Way.TO_SERVER, after, seconds))

    await accounted(urls, f"q{seed}", seed, strike, batches=BATCHES)
    return proxy.counts - before


@pytest.mark.parametrize("group", range(GROUPS))
async def test_seeded_runs_lose_nothing_and_add_nothing(redis: RedisServer, group: int) -> None:
    fired: Counter[Kind] = Counter()
    async with Proxy(redis.address) as proxy:
        host, port = proxy.address
        store = ("--store", f"redis://{host}:{port}?prefix=group{group}&timeout=1")
        servers = [ServerProcess(*store), ServerProcess(*store)]
        try:
            for server in servers:
                # The proxy is in this loop, and is what they start through.
                await asyncio.to_thread(server.start)
            for seed in range(group, RUNS, GROUPS):
                counts = await seeded_run(proxy, [server.url for server in servers], seed)
                assert counts.total() >= 3, f"seed {seed}: {counts}"
                fired += counts
        finally:
            for server in servers:
                await asyncio.to_thread(server.kill)
    assert len(fired) >= 5, fired


def name_of(fault: Fault) -> str:
    return f"{fault.kind}-{fault.way}-{fault.after}-{fault.seconds}-{fault.reset}"


FAULTS = [
    Fault(Kind.DELAY, Way.TO_SERVER, after=10, seconds=0.5),
    Fault(Kind.DELAY, Way.TO_CLIENT, after=1, seconds=2.5),
    *(Fault(Kind.CUT, Way.TO_SERVER, after=after) for after in (0, 1, 40, 400, 20_000)),
    *(Fault(Kind.CUT, Way.TO_CLIENT, after=after) for after in (1, 4, 20, 100)),
    *(Fault(Kind.HALF_CLOSE, way, after=20, seconds=0.2) for way in Way),
    *(Fault(Kind.BLACK_HOLE, way, after=20, seconds=60.0) for way in Way),
    drop_answer(),
    drop_answer(reset=False),
]
SHORT = [fault for fault in FAULTS if fault.after < 1000]
"""Those that a command without lines meets."""


@pytest.mark.parametrize("unnumbered", [True, False])
@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
async def test_a_push_is_stored_once(redis: RedisServer, fault: Fault, unnumbered: bool) -> None:
    """Also one that the client did not number, as long as batchq itself repeats it."""
    prefix = f"push{FAULTS.index(fault)}{unnumbered}"
    body = b"0123456789\n" * 4000
    async with (
        Proxy(redis.address) as proxy,
        servers_through(proxy, prefix, 1) as (server,),
        patient_client(server.url) as http,
    ):
        account = Account()
        writer = Writer(http, account, "q")
        first = await writer.push(0, b"first\n")
        assert first.status_code == 200
        proxy.inject(fault)
        if unnumbered:
            answer = await http.post("/push/q", content=body)
            assert answer.status_code in (200, 503)
            wanted = (1, 4001) if answer.status_code == 503 else (4001,)
        else:
            assert (await writer.push(1, body)).is_success
            wanted = (4001,)
        assert proxy.counts == {fault.kind: 1}
        async with asyncio.timeout(30):
            while (stats := await http.get("/queues/q")).status_code == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert stats.json()["lines"] in wanted
        if fault.kind in (Kind.DROP_ANSWER, Kind.CUT):
            # A connection that was lost at once is no reason to bother the client.
            assert stats.json()["lines"] == 4001


@pytest.mark.parametrize("fault", SHORT, ids=name_of)
async def test_a_pull_gives_each_line_once(redis: RedisServer, fault: Fault) -> None:
    prefix = f"pull{FAULTS.index(fault)}"
    async with (
        Proxy(redis.address) as proxy,
        servers_through(proxy, prefix, 1) as (server,),
        patient_client(server.url) as http,
    ):
        body = b"".join(b"%06d\n" % number for number in range(9000))
        assert (await http.post("/push/q", content=body)).is_success
        proxy.inject(fault)
        got, asked = b"", 0
        async with asyncio.timeout(60):
            while len(got) < len(body):
                pull = f"/pull/q?max=3000&lease=50&wait=5&lease_id=l{asked}"
                answer = await http.post(pull)
                if answer.status_code == 200:
                    assert answer.headers["batch-deliveries"] == "1"
                    got += answer.content
                    asked += 1
                else:
                    assert answer.status_code in (503, 204), answer.text
        assert got == body
        assert proxy.counts == {fault.kind: 1}


async def test_waiting_pulls_outlive_a_network_that_is_cut(redis: RedisServer) -> None:
    async with (
        Proxy(redis.address) as proxy,
        servers_through(proxy, "waiting") as servers,
        httpx.AsyncClient(timeout=60) as http,
    ):
        assert (await http.post(f"{servers[0].url}/push/q", content=b"")).is_success
        pulls = [
            asyncio.ensure_future(http.post(f"{server.url}/pull/q?wait=50&max=1"))
            for server in servers
        ]
        for server in servers:
            while (await http.get(f"{server.url}/queues/q")).json()["waiting_pulls"] < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        proxy.refuse()
        proxy.cut_all()
        told = await http.post(f"{servers[0].url}/push/q", content=b"")
        assert (told.status_code, "retry-after" in told.headers) == (503, True)
        # Past the proxy, somebody else does what the two would have to be told.
        async with serving(store=RedisStore(f"{redis.url}?prefix=waiting")) as other:
            assert (await http.post(f"{other.url}/push/q", content=b"a\nb\n")).is_success
            assert not any(pull.done() for pull in pulls)
            proxy.accept()
            answers = await asyncio.gather(*pulls)
        assert {answer.text for answer in answers} == {"a\n", "b\n"}
