"""The client against a real server: every call, over HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from support.servers import LocalServer, serving
from support.waiting import until_waiting

from batchq.model import GIB, MIB
from batchq_client import Client, End, Nothing, Numbering, Pulled, Pushed, errors, open_http


@pytest.fixture
async def local() -> AsyncIterator[LocalServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def client(local: LocalServer) -> AsyncIterator[Client]:
    async with Client(local.url) as made:
        yield made


async def pulled(client: Client, queue: str, **parameters: object) -> Pulled:
    answer = await client.pull(queue, **parameters)  # type: ignore[arg-type]
    assert isinstance(answer, Pulled)
    return answer


async def test_http2_is_spoken(local: LocalServer) -> None:
    versions = []

    async def note(response: httpx.Response) -> None:
        versions.append(response.http_version)

    http = open_http()
    http.event_hooks["response"].append(note)
    async with http:
        client = Client(local.url, http=http)
        await client.push("q", b"a\n")
        await client.pull("q")
        await client.queues()
    assert versions == ["HTTP/2"] * 3


async def test_push_and_pull(client: Client) -> None:
    pushed = await client.push("q", b"a\n\nb")
    assert pushed == Pushed(pushed.queue_id, duplicate=False, offset=0, position=0, lines=3)
    batch = await pulled(client, "q", maximum=2)
    assert (batch.data, batch.offset, batch.position, batch.lines) == (b"a\n\n", 0, 0, 2)
    assert (batch.ready, batch.deliveries, batch.lease) == (1, 1, None)
    assert batch.queue_id == pushed.queue_id
    assert "data" not in repr(batch)
    assert (await pulled(client, "q", max_bytes=1)).data == b"b\n"
    assert await client.pull("q", wait=0) == Nothing(pushed.queue_id)
    assert await client.pull("none", wait=0) == Nothing(None)


async def test_a_pull_waits_for_its_minimum(client: Client) -> None:
    waiting = asyncio.create_task(client.pull("q", minimum=2, wait=30))
    await client.push("q", b"a\n")
    await client.push("q", b"b\n")
    batch = await waiting
    assert isinstance(batch, Pulled)
    assert batch.data == b"a\nb\n"


async def test_partial_false_takes_nothing(client: Client) -> None:
    await client.push("q", b"a\n")
    assert isinstance(await client.pull("q", minimum=2, wait=0.01, partial=False), Nothing)
    assert (await pulled(client, "q", minimum=2, wait=0.01)).lines == 1


async def test_many_waiting_pulls_do_not_hold_up_a_push(local: LocalServer, client: Client) -> None:
    waiting = [asyncio.create_task(client.pull("q", wait=30)) for _ in range(200)]
    await client.push("q", b"")
    await until_waiting(local.store, "q", 200)
    for number in range(200):
        await client.push("q", b"%d\n" % number)
    answers = await asyncio.gather(*waiting)
    got = sorted(int(answer.data) for answer in answers if isinstance(answer, Pulled))
    assert got == list(range(200))


async def test_numbered_pushes(client: Client) -> None:
    first = await client.push("q", b"a\n", numbering=Numbering("p", 0, 0))
    again = await client.push("q", b"a\n", numbering=Numbering("p", 0, 0))
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.queue_id == first.queue_id
    assert first.producer is not None
    assert (first.producer.seq, first.producer.lines, first.producer.bytes) == (0, 1, 2)
    assert await client.producer("q", "p") == first.producer
    assert await client.producer("q", "other") is None
    await client.push("q", b"", numbering=Numbering("p", 1, 0))
    with pytest.raises(errors.StaleEpoch) as caught:
        await client.push("q", b"b\n", numbering=Numbering("p", 0, 1))
    assert caught.value.epoch == 1


async def test_close_and_end(client: Client) -> None:
    digest = "xxh3-128:" + "0" * 32
    life = (await client.push("q", b"a\nb")).queue_id
    with pytest.raises(errors.TotalsDiffer):
        await client.close("q", lines=3)
    end = await client.close("q", lines=2, total_bytes=4, digest=digest, unterminated=True)
    assert end == End(life, 2, 4, digest, unterminated=True)
    with pytest.raises(errors.QueueClosed):
        await client.push("q", b"c\n")
    assert (await pulled(client, "q")).lines == 2
    assert await client.pull("q", queue_id=life) == end


async def test_leases(client: Client) -> None:
    await client.push("q", b"a\nb\nc\n")
    one = await pulled(client, "q", maximum=1, lease=30, lease_id="mine")
    again = await pulled(client, "q", maximum=1, lease=30, lease_id="mine")
    assert (one.lease, again.lease, again.data) == ("mine", "mine", b"a\n")
    assert (one.deliveries, again.deliveries) == (1, 2)
    assert one.lease_seconds == 30
    await client.extend("q", ["mine"], 60)
    await client.release("q", ["mine"])
    two = await pulled(client, "q", maximum=2, lease=30)
    assert two.data == b"a\nb\n"
    assert two.lease is not None
    await client.ack("q", [two.lease])
    with pytest.raises(errors.LeaseLost) as caught:
        await client.ack("q", [two.lease])
    assert caught.value.lost == (two.lease,)
    last = await client.pull("q", lease=30, ack=["gone", two.lease])
    assert set(last.lost) == {"gone", two.lease}


async def test_statistics_and_deletion(client: Client) -> None:
    life = (await client.push("q", b"a\nb\n")).queue_id
    stats = await client.queue("q")
    assert (stats.queue, stats.queue_id, stats.lines, stats.bytes) == ("q", life, 2, 4)
    assert await client.queues() == [stats]
    with pytest.raises(errors.QueueReplaced):
        await client.delete("q", queue_id="other")
    await client.delete("q", queue_id=life)
    with pytest.raises(errors.NoSuchQueue):
        await client.queue("q")
    with pytest.raises(errors.QueueReplaced):
        await client.push("q", b"a\n", queue_id=life)


async def test_health(client: Client) -> None:
    health = await client.healthz()
    assert (health.status, health.level) == ("ok", "process")
    assert (health.max_wait, health.max_body) == (60.0, 64 * MIB)
    assert health.max_queue_bytes == GIB


@pytest.mark.parametrize("value", [None, "1", -1, True, []])
async def test_limits_that_are_not_told(value: object) -> None:
    names = ("max_wait", "max_body", "max_queue_bytes")
    told = dict.fromkeys(("status", "version", "level", "promise"), "x")
    limits = {} if value is None else dict.fromkeys(names, value)
    answer = httpx.Response(200, json={**told, **limits})
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer))
    health = await Client("http://x", http=http).healthz()
    assert (health.max_wait, health.max_body, health.max_queue_bytes) == (None, None, None)


async def test_names_are_escaped(client: Client) -> None:
    with pytest.raises(errors.BadRequest):
        await client.push("a/b?c#d", b"")


async def test_a_path_prefix() -> None:
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(str(request.url))
        return httpx.Response(204, headers={"queue-id": "x"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    client = Client("http://host:8080/some/where/", http=http)
    await client.push("q", b"")
    await client.pull("q", wait=0.5)
    await client.delete("q")
    base = "http://host:8080/some/where"
    assert paths == [f"{base}/push/q", f"{base}/pull/q?wait=0.5", f"{base}/queues/q"]


@pytest.mark.parametrize(("wait", "seconds"), [(None, 70.0), (0.0, 10.0), (2.5, 12.5)])
async def test_a_pull_is_given_up_ten_seconds_after_its_wait(
    wait: float | None, seconds: float
) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"]["read"])
        return httpx.Response(204)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    await Client("http://x", http=http).pull("q", wait=wait)
    assert seen == [seconds]


async def test_the_callers_http_client_stays_open() -> None:
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(204)))
    async with Client("http://x", http=http):
        pass
    assert not http.is_closed
    await http.aclose()


async def test_a_server_that_is_not_there() -> None:
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(errors.NotSent, match=r"can't reach http://127\.0\.0\.1:1"):
            await client.healthz()
