"""An answer that was lost is asked for again, and nothing is done twice.

The commands go to a real Redis and take effect; what is lost is the answer.
"""

from __future__ import annotations

import asyncio

import msgpack  # type: ignore[import-untyped]
import pytest
from support.redis_lossy import Lossy

from batchq import errors
from batchq.lines import batch_of
from batchq.model import (
    CloseRequest,
    Nothing,
    Numbering,
    Pulled,
    PullRequest,
    Pushed,
    PushRequest,
)
from batchq.stores.redis import RedisStore, scripts

TIMES = pytest.mark.parametrize("times", [1, 3])


async def push(store: RedisStore, body: bytes, seq: int | None = None) -> Pushed:
    numbering = None if seq is None else Numbering("p", 0, seq)
    return await store.push(PushRequest("q", batch_of(body), numbering))


async def take(store: RedisStore, **how: object) -> Pulled:
    answer = await store.pull(PullRequest("q", **how))  # type: ignore[arg-type]
    assert isinstance(answer, Pulled)
    return answer


@TIMES
@pytest.mark.parametrize("seq", [None, 1])
async def test_a_push_is_stored_once_and_told_as_the_first(
    store: RedisStore, times: int, seq: int | None
) -> None:
    await push(store, b"a\nb\n", 0)
    lossy = Lossy(store)
    lossy.lose(scripts.PUSH, times)
    pushed = await push(store, b"c\n", seq)
    assert lossy.lost == times
    assert (pushed.offset, pushed.position, pushed.duplicate) == (2, 4, False)
    assert (await store.stats("q", None)).lines == 3


@TIMES
async def test_a_push_that_creates_the_queue(store: RedisStore, times: int) -> None:
    lossy = Lossy(store)
    lossy.lose(scripts.PUSH, times)
    pushed = await push(store, b"a\n")
    assert lossy.lost == times
    assert pushed.offset == 0
    assert [stats.lines for stats in await store.queues()] == [1]


@TIMES
async def test_a_pull_without_a_lease_has_the_same_lines(store: RedisStore, times: int) -> None:
    await push(store, b"a\nb\nc\n")
    lossy = Lossy(store)
    lossy.lose(scripts.PULL, times)
    pulled = await take(store)
    assert lossy.lost == times
    assert (pulled.offset, pulled.data, pulled.ready, pulled.deliveries) == (0, b"a\nb\nc\n", 0, 1)
    assert isinstance(await store.pull(PullRequest("q")), Nothing)


@TIMES
async def test_a_pull_that_cuts_has_the_same_lines(store: RedisStore, times: int) -> None:
    await push(store, b"a\nb\nc\n")
    lossy = Lossy(store)
    lossy.lose(scripts.PULL, times)
    assert (await take(store, max=2)).data == b"a\nb\n"
    assert lossy.lost == times
    assert (await take(store)).data == b"c\n"


@TIMES
@pytest.mark.parametrize("lease_id", [None, "mine"])
async def test_a_pull_with_a_lease_counts_one_delivery(
    store: RedisStore, times: int, lease_id: str | None
) -> None:
    await push(store, b"a\n")
    lossy = Lossy(store)
    lossy.lose(scripts.PULL, times)
    pulled = await take(store, lease=50, lease_id=lease_id)
    assert lossy.lost == times
    assert (pulled.data, pulled.deliveries) == (b"a\n", 1)
    assert pulled.lease is not None
    await store.ack("q", [pulled.lease.id], None)
    assert (await store.stats("q", None)).stored_bytes == 0


@TIMES
async def test_what_a_pull_acknowledges_is_not_told_lost(store: RedisStore, times: int) -> None:
    await push(store, b"a\nb\n")
    await take(store, max=1, lease=50, lease_id="one")
    lossy = Lossy(store)
    lossy.lose(scripts.PULL, times)
    pulled = await take(store, ack=("one", "gone"))
    assert lossy.lost == times
    assert (pulled.data, pulled.lost) == (b"b\n", ("gone",))


@TIMES
@pytest.mark.parametrize("verb", ["ack", "release", "extend"])
async def test_leases_that_were_known_are_not_told_lost(
    store: RedisStore, times: int, verb: str
) -> None:
    pushed = await push(store, b"a\n")
    await take(store, lease=50, lease_id="one")
    lossy = Lossy(store)
    lossy.lose(scripts.LEASES, times)
    more = (9.0,) if verb == "extend" else ()
    assert await getattr(store, verb)("q", ["one"], *more, None) == pushed.queue_id
    assert lossy.lost == times


@TIMES
async def test_a_close_is_told_its_end(store: RedisStore, times: int) -> None:
    await push(store, b"a\n", 0)
    lossy = Lossy(store)
    lossy.lose(scripts.CLOSE, times)
    end = await store.close(CloseRequest("q", lines=1, numbering=Numbering("p", 0, 1)))
    assert lossy.lost == times
    assert (end.lines, end.producer is not None) == (1, True)


@TIMES
async def test_a_delete_ends_one_life_only(store: RedisStore, times: int) -> None:
    pushed = await push(store, b"a\n")
    lossy = Lossy(store)
    lossy.lose(scripts.DELETE, times)
    assert await store.delete("q", None) == pushed.queue_id
    assert lossy.lost == times
    with pytest.raises(errors.NoSuchQueue):
        await store.stats("q", None)


async def test_a_copy_of_a_push_that_comes_later_adds_nothing(store: RedisStore) -> None:
    lossy = Lossy(store)
    await push(store, b"first\n")
    lossy.sent.clear()
    lossy.lose(scripts.PUSH)
    await push(store, b"a\n")
    for _ in range(40):
        await push(store, b"b\n")
    await store.flush()
    await lossy.again(scripts.PUSH)
    assert (await store.stats("q", None)).lines == 42


async def test_a_copy_of_a_pull_that_comes_later_takes_nothing(store: RedisStore) -> None:
    await push(store, b"a\nb\n")
    lossy = Lossy(store)
    lossy.lose(scripts.PULL)
    await take(store, max_bytes=1)
    await store.flush()
    await lossy.again(scripts.PULL, first=False)
    assert (await take(store)).data == b"b\n"


async def test_a_copy_of_a_pull_that_gave_nothing_takes_nothing(store: RedisStore) -> None:
    await push(store, b"")
    lossy = Lossy(store)
    lossy.lose(scripts.PULL)
    assert isinstance(await store.pull(PullRequest("q")), Nothing)
    await store.flush()
    await push(store, b"a\n")
    await lossy.again(scripts.PULL)
    assert (await take(store)).data == b"a\n"


async def test_a_copy_that_comes_much_later_has_no_effect(store: RedisStore) -> None:
    lossy = Lossy(store)
    await push(store, b"a\n")
    await take(store)
    await push(store, b"b\n")
    for sent in [args for args in lossy.sent if args[1] in {scripts.PUSH.sha, scripts.PULL.sha}]:
        args = msgpack.unpackb(sent[4])
        args["till"] = args["till"] - 61_000_000
        answer = await lossy._client.execute_command(
            *sent[:4], msgpack.packb(args, use_bin_type=False), *sent[5:]
        )
        assert msgpack.unpackb(answer[0])["r"] == "late"
    assert (await store.stats("q", None)).ready_lines == 1


async def test_a_cancelled_pull_whose_answer_was_lost_takes_nothing(store: RedisStore) -> None:
    await push(store, b"a\n")
    lossy = Lossy(store)
    lossy.lose(scripts.PULL, 2)
    pull = asyncio.ensure_future(store.pull(PullRequest("q")))
    while not lossy.lost:  # noqa: ASYNC110  the store tells nobody
        await asyncio.sleep(0)
    pull.cancel()
    await asyncio.wait([pull])
    assert pull.cancelled()
    assert (await take(store)).deliveries == 1


async def test_redis_remembers_nothing_once_answers_have_arrived(store: RedisStore) -> None:
    for body in (b"a\n", b"b\n"):
        await push(store, body)
        await take(store)
    await take_nothing(store)
    await store.flush()
    prefix = store._target.options.prefix
    keys = await store._link.plain("KEYS", f"{prefix}:*")
    assert sorted(key.decode() for key in keys) == [f"{prefix}:names", f"{prefix}:{{q}}"]


async def take_nothing(store: RedisStore) -> None:
    assert isinstance(await store.pull(PullRequest("q")), Nothing)
