"""What Redis has to be told of earlier calls is known to a call that overtakes the word."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from support.redis_held import Held
from support.redis_stores import until_tried

from batchq.lines import batch_of
from batchq.model import CloseRequest, End, Pulled, PullRequest, PushRequest
from batchq.stores.redis import RedisStore, scripts


async def test_a_queue_has_ended_when_its_last_lines_have_arrived(store: RedisStore) -> None:
    await store.push(PushRequest("q", batch_of(b"a\n")))
    await store.close(CloseRequest("q"))
    held = Held(store)
    held.hold(scripts.LOOK)
    assert isinstance(await store.pull(PullRequest("q")), Pulled)
    await held.waits.wait()
    assert isinstance(await store.pull(PullRequest("q")), End)
    held.let_go()


async def test_lines_of_a_pull_whose_caller_left_are_there_for_the_next(store: RedisStore) -> None:
    await store.push(PushRequest("q", batch_of(b"a\nb\n")))
    held = Held(store)
    held.hold(scripts.LOOK)
    leaving = asyncio.ensure_future(store.pull(PullRequest("q", max=1)))
    await asyncio.sleep(0)  # it is on its way
    leaving.cancel()
    await held.waits.wait()
    answer = await store.pull(PullRequest("q", max=1))
    assert isinstance(answer, Pulled)
    assert (answer.offset, answer.data, answer.deliveries) == (0, b"a\n", 1)
    held.let_go()
    with suppress(asyncio.CancelledError):
        await leaving
    answer = await store.pull(PullRequest("q", max=9))
    assert isinstance(answer, Pulled)
    assert (answer.offset, answer.data) == (1, b"b\n")


async def test_those_who_wait_get_lines_that_come_back_in_their_order(store: RedisStore) -> None:
    await store.push(PushRequest("q", batch_of(b"a\nb\n")))
    held = Held(store)
    held.hold(scripts.PULL, answer=True)
    leaving = asyncio.ensure_future(store.pull(PullRequest("q")))
    await held.waits.wait()
    first = asyncio.ensure_future(store.pull(PullRequest("q", max=1, wait=50)))
    await until_tried(store, "q")
    leaving.cancel()
    held.let_go()
    held.hold(scripts.LOOK)
    await held.waits.wait()
    second = asyncio.ensure_future(store.pull(PullRequest("q", max=1, wait=50)))
    answers = [await first, await second]
    assert [answer.offset for answer in answers if isinstance(answer, Pulled)] == [0, 1]
    held.let_go()
    with suppress(asyncio.CancelledError):
        await leaving
