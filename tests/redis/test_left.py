"""What is left in Redis and in the server when something is over, and what it costs to refuse."""

from __future__ import annotations

import asyncio

import pytest
from support.redis_single import SingleRedis

from batchq import errors
from batchq.lines import batch_of
from batchq.model import CloseRequest, Limits, Numbering, PullRequest, PushRequest
from batchq.stores.redis import RedisStore, scripts
from batchq.stores.redis.hub import new_id
from batchq.stores.redis.names import Names

BLOCKS = 300
"""More than one call sweeps."""


async def filled(store: RedisStore, queue: str = "q", blocks: int = BLOCKS) -> None:
    for _ in range(blocks):
        await store.push(PushRequest(queue, batch_of(b"x" * 40_000 + b"\n")))


async def keys(store: RedisStore, part: str) -> list[str]:
    found = await store._link.plain("KEYS", f"{store._target.options.prefix}:{part}")
    return sorted(key.decode() for key in found)


async def ended_by_a_server_that_died(store: RedisStore, queue: str) -> None:
    """Deletes a queue as a server does that is killed before it can do more."""
    hub = store._opened()
    args = {"op": new_id(), "pin": None, "kc": 0}
    reply = await hub.call(hub.slot(queue), scripts.DELETE, args)
    assert reply.header["r"] == "done"


async def test_refused_producers_are_forgotten(store: RedisStore) -> None:
    await store.push(PushRequest("q", batch_of(b"a\n")))
    await store.pull(PullRequest("q", lease=500))
    await store.close(CloseRequest("q"))
    for number in range(20):
        with pytest.raises(errors.QueueClosed):
            await store.push(PushRequest("q", batch_of(b"b\n"), Numbering(f"p{number}", 0, 0)))
    assert store._opened().slot("q").lanes == {}


async def test_of_a_deleted_queue_no_line_is_left(store: RedisStore, prefixed: str) -> None:
    other = RedisStore(prefixed)
    await other.start()
    await filled(other, blocks=4 * BLOCKS)
    await other.delete("q", None)
    await other.stop()
    assert await keys(store, "{q}:b:*") == []
    assert await keys(store, "{q}:garbage") == []


async def test_what_a_server_left_goes_with_the_next_life(store: RedisStore, prefixed: str) -> None:
    await filled(store)
    await ended_by_a_server_that_died(store, "q")
    assert len(await keys(store, "{q}:b:*")) == BLOCKS
    other = RedisStore(prefixed)
    await other.start()
    try:
        await other.push(PushRequest("q", batch_of(b"a\n")))
        async with asyncio.timeout(30):
            while await keys(other, "{q}:garbage"):
                pass
        assert len(await keys(other, "{q}:b:*")) == 1
    finally:
        await other.stop()


async def test_what_a_server_left_goes_when_queues_are_listed(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store)
    hub = store._opened()
    await hub.names.keep("gone", new_id())
    await ended_by_a_server_that_died(store, "q")
    await hub.names.keep("q", new_id())  # it did not come to removing it
    assert await store.queues() == []
    assert len(await keys(store, "{q}:b:*")) == BLOCKS, "it may be about to be created"
    monkeypatch.setattr(Names, "PENDING_SECONDS", -1)
    assert await store.queues() == []
    assert await keys(store, "{q}:b:*") == []
    assert await keys(store, "names") == []


async def test_refusing_a_queue_costs_little(prefixed: str) -> None:
    many = 50
    store = RedisStore(prefixed, Limits(queues=many))
    await store.start()
    try:
        for number in range(many):
            await store.push(PushRequest(f"q{number}", batch_of(b"a\n")))
        with pytest.raises(errors.TooManyQueues):
            await store.push(PushRequest("more", batch_of(b"a\n")))
        before = await scripts_run(store)
        for _ in range(5):
            with pytest.raises(errors.TooManyQueues):
                await store.push(PushRequest("more", batch_of(b"a\n")))
        assert await scripts_run(store) - before < many
    finally:
        await store.stop()


async def scripts_run(store: RedisStore) -> int:
    told = await store._link.plain("INFO", "commandstats")
    if isinstance(told, dict):
        return int(told["cmdstat_evalsha"]["calls"])
    line = next(line for line in told.decode().splitlines() if line.startswith("cmdstat_evalsha:"))
    return int(line.partition("calls=")[2].partition(",")[0])


async def test_a_name_that_a_failover_lost_is_noted_again() -> None:
    redis = SingleRedis(keeps=True)
    store = RedisStore(redis.url)
    await store.start()
    try:
        for queue in ("q", "other"):
            await store.push(PushRequest(queue, batch_of(b"a\n")))
        await store._link.plain("DEL", store._opened().keys.names)
        redis.kill()
        with pytest.raises(errors.StoreUnavailable):
            await store.stats("q", None)
        redis.start()
        while store.failure() is not None:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)
        await store.push(PushRequest("q", batch_of(b"a\n")))
        async with asyncio.timeout(30):
            while [stats.queue for stats in await store.queues()] != ["q"]:
                pass
    finally:
        await store.stop()
        redis.stop()
