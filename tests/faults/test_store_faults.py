"""Nothing lost, nothing twice, over a network that fails: a real server behind the proxy."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import accumulate

import httpx
import pytest
from faults.peers import (
    Reader,
    Writer,
    delivery_of,
    ended,
    patient_client,
    sent_until_answered,
)
from support.accounting import Account
from support.faults import ALL_KINDS, KIB, Fault, FaultPlan, Kind, Way, drop_answer
from support.problems import problem_of
from support.proxy import Proxy, address_of
from support.servers import ServerProcess
from support.stream import digest_of

RUN_SECONDS = 60.0
BATCHES = 24


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One server on each store: use queue names of your own."""
    path = tmp_path_factory.mktemp("store") / "queues.db"
    store = {"memory": "memory:", "sqlite": f"sqlite:{path}"}[request.param]
    with ServerProcess("--store", store) as process:
        yield process


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"faults-{name}"[:128]


@pytest.fixture
async def proxy(server: ServerProcess) -> AsyncIterator[Proxy]:
    async with Proxy(address_of(server.url)) as through:
        yield through


@pytest.fixture
async def http(proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    """Through the proxy."""
    async with patient_client(proxy.url) as client:
        yield client


@pytest.fixture
async def direct(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """Past the proxy."""
    async with patient_client(server.url) as client:
        yield client


def batches_of(seed: int, name: str = "w") -> list[bytes]:
    chance = random.Random(f"{seed} {name}")
    return [
        b"".join(
            f"{name},{seq},{line},".encode() + chance.randbytes(20).hex().encode() + b"\n"
            for line in range(chance.choice((1, 10, 100, 800)))
        )
        for seq in range(BATCHES)
    ]


async def read_directly(
    direct: httpx.AsyncClient, account: Account, queue: str, *, close: bool = True
) -> str:
    """Closes a queue, reads it to the end, past all faults, and gives the digest of it all."""
    if close:
        assert (await direct.post(f"/close/{queue}")).is_success
    await Reader(direct, account, queue, random.Random(0)).read_all()
    report = account.report()
    report.assert_clean()
    return report.digest


async def seeded_run(server: ServerProcess, queue: str, seed: int) -> Counter[Kind]:
    """One writer, two readers, and faults; returns those that struck.

    Beside the plan's, whose bytes may never be reached, one of each kind is sure to strike.
    """
    account, chance = Account(), random.Random(seed)
    plan = FaultPlan(seed, limit=6, span=48 * KIB, seconds=0.06)
    sure = dict(zip(chance.sample(range(1, BATCHES), len(ALL_KINDS)), ALL_KINDS, strict=True))
    batches = batches_of(seed)
    async with (
        asyncio.timeout(RUN_SECONDS),
        Proxy(address_of(server.url), plan) as proxy,
        patient_client(proxy.url) as to_write,
        patient_client(proxy.url) as to_read,
    ):
        writer = Writer(to_write, account, queue)

        def strike(seq: int) -> None:
            if seq in sure:
                after, seconds = chance.randrange(60), chance.uniform(0.01, 0.06)
                proxy.inject(Fault(sure[seq], Way.TO_SERVER, after, seconds))

        readers = [
            Reader(to_read, account, queue, random.Random(f"{seed} {n}"), 0.4, forgetful=0.1)
            for n in range(2)
        ]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.read_all())
            await writer.push_all(batches, chance.choice((1, 4, 16)), strike)
            closed = await writer.close(
                len(batches), bytes=sum(map(len, batches)), digest=digest_of(batches)
            )
            assert closed.is_success, closed.text
        # One that waits for bytes of a connection that has nothing more to say gets them, or
        # another connection's: httpcore may have forgotten one that it opened.
        while set(proxy.counts) != set(ALL_KINDS):
            for http in (to_write, to_read) * 3:
                await sent_until_answered(http, f"/pull/{queue}", params={"wait": 0})
            proxy.cut_all()
    report = account.report()
    report.assert_clean()
    assert report.batches == len(batches)
    assert report.digest == digest_of(batches)
    return proxy.counts


@pytest.mark.parametrize("seed", range(24))
async def test_seeded_runs_lose_nothing_and_add_nothing(
    server: ServerProcess, queue: str, seed: int
) -> None:
    assert set(await seeded_run(server, queue, seed)) == set(ALL_KINDS)


@pytest.mark.parametrize("which", [0, 3, BATCHES - 1])
async def test_a_push_whose_answer_is_dropped_is_stored_once(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str, which: int
) -> None:
    account = Account()
    writer = Writer(http, account, queue)
    for seq, data in enumerate(batches_of(0)):
        if seq == which:
            proxy.inject(drop_answer())
            with pytest.raises(httpx.TransportError):
                await writer.push_once(seq, data)
        again = await writer.push_once(seq, data)
        assert again.status_code == (204 if seq == which else 200)
    assert proxy.counts == {Kind.DROP_ANSWER: 1}
    await read_directly(direct, account, queue)


@pytest.mark.parametrize("meanwhile", ["closed", "drained", "deleted", "reused"])
async def test_the_last_push_is_retried_long_after(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str, meanwhile: str
) -> None:
    account = Account()
    writer = Writer(http, account, queue)
    await writer.push(0, b"first\n")
    proxy.inject(drop_answer())
    with pytest.raises(httpx.TransportError):
        await writer.push_once(1, b"last\n")
    if meanwhile == "closed":
        assert (await direct.post(f"/close/{queue}")).is_success
    else:
        await read_directly(direct, account, queue)
    if meanwhile in ("deleted", "reused"):
        assert (await direct.delete(f"/queues/{queue}")).is_success
    if meanwhile == "reused":
        fresh = await direct.post(f"/push/{queue}", content=b"new\n")
        assert fresh.headers["queue-id"] != writer.queue_id
    again = await writer.push_once(1, b"last\n")
    assert again.status_code == 204
    if meanwhile == "reused":
        left = Account()
        left.attempted("new", 0, b"new\n")
        left.acknowledged("new", 0)
        await read_directly(direct, left, queue)
    elif meanwhile == "closed":
        await read_directly(direct, account, queue, close=False)
    account.report().assert_clean()
    assert account.report().batches == 2


async def test_a_close_whose_answer_is_dropped_is_retried(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str
) -> None:
    account = Account()
    writer = Writer(http, account, queue)
    await writer.push(0, b"a\n")
    proxy.inject(drop_answer())
    closed = await writer.close(1, lines=1, bytes=2, digest=digest_of([b"a\n"]))
    assert closed.status_code == 200
    assert closed.headers["queue-id"] == writer.queue_id
    assert proxy.counts == {Kind.DROP_ANSWER: 1}
    await read_directly(direct, account, queue, close=False)


@pytest.mark.parametrize("after", [1, 500, 20_000, 39_000])
async def test_a_push_that_breaks_off_adds_nothing_until_it_is_sent_again(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str, after: int
) -> None:
    account = Account()
    writer = Writer(http, account, queue)
    await writer.push(0, b"first\n")
    proxy.inject(Fault(Kind.CUT, Way.TO_SERVER, after))
    with pytest.raises(httpx.TransportError):
        await writer.push_once(1, b"0123456789\n" * 4000)
    stats = (await direct.get(f"/queues/{queue}")).json()
    assert (stats["lines"], stats["bytes"]) == (1, 6)
    assert (await writer.push_once(1, b"0123456789\n" * 4000)).status_code == 200
    await read_directly(direct, account, queue)


async def test_a_retried_pull_gets_the_same_lines(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str
) -> None:
    account = Account()
    for seq, data in enumerate(batches_of(1)):
        await Writer(http, account, queue).push(seq, data)
    proxy.inject(drop_answer())
    asking = {"lease": "60", "lease_id": "mine", "max_bytes": "50000"}
    asked = account.tick()
    with pytest.raises(httpx.TransportError):
        await http.post(f"/pull/{queue}", params=asking)
    assert proxy.counts == {Kind.DROP_ANSWER: 1}
    # Another reader gets what comes behind them.
    other = delivery_of(
        await direct.post(f"/pull/{queue}", params={"lease": 60, "max": 1}), account.tick()
    )
    account.delivered(other)
    again = [await http.post(f"/pull/{queue}", params=asking) for _ in range(2)]
    assert again[0].content == again[1].content
    for answer in again:
        account.delivered(delivery_of(answer, asked))
        assert delivery_of(answer).offset == 0
        assert delivery_of(answer).end == other.offset
        assert answer.headers["batch-lease"] == "mine"
    stats = (await direct.get(f"/queues/{queue}")).json()
    assert stats["leases"] == 2
    for lease in ("mine", other.lease or ""):
        assert (await direct.post(f"/ack/{queue}", params={"lease": lease})).is_success
        account.done(lease)
    await read_directly(direct, account, queue)


async def test_an_ack_whose_answer_is_dropped_is_done(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str
) -> None:
    account = Account()
    await Writer(http, account, queue).push(0, b"a\nb\n")
    reader = Reader(http, account, queue, random.Random(0))
    _, delivery, _ = await reader.pull(max=1)
    assert delivery is not None
    assert delivery.lease is not None
    proxy.inject(drop_answer())
    with pytest.raises(httpx.TransportError):
        await http.post(f"/ack/{queue}", params={"lease": delivery.lease})
    again = await http.post(f"/ack/{queue}", params={"lease": delivery.lease})
    problem_of(again, 409, "lease-lost")
    account.done(delivery.lease)
    await read_directly(direct, account, queue)


async def test_a_lease_that_ran_out_is_delivered_again_in_its_place(
    http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str
) -> None:
    account = Account()
    await Writer(http, account, queue).push(0, b"a\nbb\n")
    await Writer(http, account, queue).push(1, b"ccc\n")
    slow = Reader(http, account, queue, random.Random(1), lease=0.2)
    other = Reader(direct, account, queue, random.Random(2))
    _, first, _ = await slow.pull(max=2)
    _, rest, _ = await other.pull()
    # Waits for the lease to run out.
    _, again, _ = await other.pull(wait=20)
    assert first is not None
    assert rest is not None
    assert again is not None
    assert (again.offset, again.position, again.data) == (0, 0, b"a\nbb\n")
    assert (first.deliveries, rest.deliveries, again.deliveries) == (1, 1, 2)
    assert rest.offset == 2
    late = await http.post(f"/ack/{queue}", params={"lease": first.lease})
    problem_of(late, 409, "lease-lost")
    for delivery in (again, rest):
        assert delivery.lease is not None
        await other.ack(delivery.lease)
    await read_directly(direct, account, queue)
    assert account.report().repeated == 1


async def test_the_end_waits_for_a_slow_reader(
    http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str
) -> None:
    account = Account()
    await Writer(http, account, queue).push(0, b"a\n")
    assert (await direct.post(f"/close/{queue}")).is_success
    slow = Reader(http, account, queue, random.Random(1), lease=0.2)
    await slow.pull()
    other = Reader(direct, account, queue, random.Random(2))
    answer, again, _ = await other.pull(wait=20)
    assert again is not None, answer.headers
    assert again.deliveries == 2
    assert again.lease is not None
    await other.ack(again.lease)
    assert ended(account, await direct.post(f"/pull/{queue}", params={"wait": 0}))
    account.report().assert_clean()


async def test_without_a_lease_a_dropped_answer_never_means_twice(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str
) -> None:
    for n in range(3):
        await direct.post(f"/push/{queue}", content=f"{n}\n".encode())
    proxy.inject(drop_answer())
    with pytest.raises(httpx.TransportError):
        await http.post(f"/pull/{queue}", params={"max": 1})
    offsets = []
    while (answer := await http.post(f"/pull/{queue}", params={"max": 1, "wait": 0})).content:
        offsets.append(delivery_of(answer).offset)
    # The first line was on its way, and is gone or was put back: at most once.
    assert offsets in ([1, 2], [0, 1, 2])


@pytest.mark.parametrize("seed", range(4))
async def test_of_two_writers_under_one_id_the_old_one_is_fenced(
    proxy: Proxy, http: httpx.AsyncClient, direct: httpx.AsyncClient, queue: str, seed: int
) -> None:
    account, chance = Account(), random.Random(seed)
    batches = batches_of(seed)
    source = b"".join(batches)
    old = Writer(http, account, queue)
    new = Writer(direct, account, queue, epoch=1)
    fenced = asyncio.Event()

    async def write_as_if_alone() -> None:
        for seq, data in enumerate(batches):
            if chance.random() < 0.3:
                proxy.inject(drop_answer())
            answer = await old.push(seq, data)
            if answer.status_code == 403:
                problem_of(answer, 403, "stale-epoch")
                assert answer.headers["producer-epoch"] == "1"
                fenced.set()
                return
            if seq == claim_after:
                claiming.set()

    claiming, claim_after = asyncio.Event(), chance.randrange(BATCHES // 2)
    async with asyncio.timeout(RUN_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(write_as_if_alone())
        await claiming.wait()
        claimed = await new.push(0, b"")
        stored = int(claimed.headers["producer-bytes"])
        rest = source[stored:]
        lines = rest.splitlines(keepends=True)
        for seq in range(1, 11):
            piece = lines[(seq - 1) * len(lines) // 10 : seq * len(lines) // 10]
            assert (await new.push(seq, b"".join(piece))).status_code == 200
    assert fenced.is_set()
    # The claim told what there is of the old one's, so that all else of it is refused.
    borders = list(accumulate(map(len, batches)))
    assert stored in borders
    for batch in list(account.sent):
        if batch.producer == old.name and borders[batch.seq] > stored:
            account.refused(old.name, batch.seq)
    # Even what the old one knows to be stored is not its business any more.
    problem_of(await old.push_once(0, batches[0]), 403, "stale-epoch")
    digest = await read_directly(direct, account, queue)
    assert digest == digest_of([source])
