from __future__ import annotations

import asyncio

import pytest
from contract.steps import Steps, still
from support.clock import settle

from batchq import errors
from batchq.model import Nothing, Numbering, Pulled


async def test_a_pull_takes_what_there_is_in_order(steps: Steps) -> None:
    pushed = await steps.push(b"a\nbb\n")
    await steps.push(b"c\n")
    pulled = await steps.take()
    assert pulled == Pulled(pushed.queue_id, 0, 0, 3, b"a\nbb\nc\n", 0, 1)
    assert (await steps.nothing()).queue_id == pushed.queue_id


async def test_max_and_max_bytes(steps: Steps) -> None:
    await steps.push(b"a\nbb\nccc\ndddd\n")
    one = await steps.take(max=1)
    assert (one.data, one.ready) == (b"a\n", 3)
    two = await steps.take(max_bytes=7)
    assert (two.offset, two.position, two.data) == (1, 2, b"bb\nccc\n")
    assert await steps.data(max_bytes=1) == b"dddd\n"


async def test_a_queue_that_does_not_exist_is_waited_for(steps: Steps) -> None:
    assert (await steps.nothing()).queue_id is None
    waiting = await steps.waits(steps.pull(wait=5))
    assert await steps.store.queues() == []
    pushed = await steps.push(b"a")
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.queue_id == pushed.queue_id


async def test_the_wait_ends(steps: Steps) -> None:
    waiting = await steps.waits(steps.pull(wait=5))
    await steps.passes(4.5)
    await still(waiting)
    await steps.passes(1)
    assert await waiting == Nothing(None)


async def test_min_waits_and_then_takes_on(steps: Steps) -> None:
    await steps.push(b"a")
    waiting = await steps.waits(steps.pull(min=3, wait=5))
    await steps.push(b"b")
    await still(waiting)
    await steps.push(b"c\nd\n")
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\nb\nc\nd\n"


async def test_partial_gives_what_there_is_when_the_wait_is_over(steps: Steps) -> None:
    await steps.push(b"a")
    waiting = await steps.waits(steps.pull(min=3, wait=5))
    await steps.passes(6)
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"


async def test_not_partial_takes_nothing_when_the_wait_is_over(steps: Steps) -> None:
    await steps.push(b"a")
    waiting = await steps.waits(steps.pull(min=3, wait=5, partial=False))
    await steps.passes(6)
    assert isinstance(await waiting, Nothing)
    assert (await steps.stats()).ready_lines == 1


async def test_max_bytes_ready_is_enough(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    waiting = await steps.waits(steps.pull(min=9, max_bytes=5, wait=5))
    await steps.push(b"c\n")
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\nb\n"


async def test_a_run_that_cannot_grow_is_enough(steps: Steps) -> None:
    await steps.push(b"a\nb\nc\n")
    first = await steps.take(max=1, lease=50)
    await steps.take(max=1, lease=50)
    waiting = await steps.waits(steps.pull(min=9, wait=5, partial=False))
    assert first.lease is not None
    await steps.store.release("q", [first.lease.id], None)
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert (answer.offset, answer.data) == (0, b"a\n")


async def test_close_is_enough(steps: Steps) -> None:
    await steps.push(b"a")
    waiting = await steps.waits(steps.pull(min=9, wait=5, partial=False))
    await steps.close()
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"


async def test_a_full_queue_is_enough(steps: Steps) -> None:
    waiting = await steps.waits(steps.pull(min=9, wait=5, partial=False))
    await steps.push(b"x" * 99)
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.lines == 1


@pytest.mark.parametrize("wait", [0, 5])
async def test_a_push_that_does_not_fit_shows_the_queue_full(steps: Steps, wait: float) -> None:
    await steps.push(b"x" * 70)
    pull = await steps.waits(steps.pull(min=9, wait=50, partial=False))
    push = steps.begin(steps.push(b"y" * 35, wait=wait))
    answer = await pull
    assert isinstance(answer, Pulled)
    assert answer.lines == 1
    if wait:
        assert (await push).offset == 1
    else:
        with pytest.raises(errors.QueueFull):
            await push


async def test_batches_that_fill_the_queue_together_are_taken_together(steps: Steps) -> None:
    pull = await steps.waits(steps.pull(min=3, wait=50))
    calls = [await steps.waits(steps.push(b"y" * 19, Numbering("p", 0, seq))) for seq in (1, 2)]
    await steps.push(b"x" * 59, Numbering("p", 0, 0))
    assert [(await call).offset for call in calls] == [1, 2]
    answer = await pull
    assert isinstance(answer, Pulled)
    assert answer.lines == 3


async def test_waiting_pulls_are_served_in_order_each_when_its_condition_holds(
    steps: Steps,
) -> None:
    many = await steps.waits(steps.pull(min=3, wait=50))
    one = await steps.waits(steps.pull(min=1, max=1, wait=50))
    await steps.push(b"a")
    answer = await one
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"
    await still(many)
    await steps.push(b"b\nc\nd\n")
    answer = await many
    assert isinstance(answer, Pulled)
    assert answer.data == b"b\nc\nd\n"


async def test_two_hundred_waiting_pulls_are_served_in_order(steps: Steps) -> None:
    calls = [await steps.waits(steps.pull(max=1, wait=50)) for _ in range(200)]
    for _ in range(4):
        await steps.push(b"\n" * 50)
        await settle()
    answers = [await call for call in calls]
    assert [a.offset for a in answers if isinstance(a, Pulled)] == list(range(200))


async def test_a_cancelled_pull_takes_nothing(steps: Steps) -> None:
    gone = await steps.waits(steps.pull(wait=50))
    other = await steps.waits(steps.pull(wait=50))
    await steps.leave(gone)
    await steps.push(b"a")
    assert isinstance(await other, Pulled)


async def test_a_pull_cancelled_as_it_is_answered_takes_nothing(steps: Steps) -> None:
    await steps.push(b"a")
    gone = await steps.waits(steps.pull(min=2, wait=50))
    push = steps.begin(steps.push(b"b"))
    await push
    cancelled = gone.cancel()
    await asyncio.wait([gone])
    if cancelled and gone.cancelled():
        again = await steps.take()
        assert (again.offset, again.data, again.deliveries) == (0, b"a\nb\n", 1)


async def test_a_leased_pull_cancelled_as_it_is_answered_takes_nothing(steps: Steps) -> None:
    gone = await steps.waits(steps.pull(wait=50, lease=50, lease_id="mine"))
    push = steps.begin(steps.push(b"a"))
    await push
    gone.cancel()
    await asyncio.wait([gone])
    if gone.cancelled():
        assert await steps.data() == b"a\n"


async def test_utf8_stops_before_the_first_line_that_is_not(steps: Steps) -> None:
    await steps.push("ä\n".encode() + b"b\n\xff\nc\n")
    assert await steps.data(utf8=True) == "ä\nb\n".encode()
    with pytest.raises(errors.NotAcceptable):
        await steps.pull(utf8=True)
    assert (await steps.stats()).ready_lines == 2
    assert await steps.data() == b"\xff\nc\n"


async def test_a_pull_of_another_life_is_refused(steps: Steps) -> None:
    await steps.push(b"a")
    with pytest.raises(errors.QueueReplaced):
        await steps.pull(queue_id="another")
    with pytest.raises(errors.QueueReplaced):
        await steps.pull("other", queue_id="another")


async def test_drain_answers_waiting_pulls_and_refuses_parked_pushes(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    pull = await steps.waits(steps.pull("other", wait=50))
    push = await steps.waits(steps.push(b"y", wait=50))
    steps.store.drain()
    assert await pull == Nothing(None)
    with pytest.raises(errors.ShuttingDown):
        await push
    with pytest.raises(errors.ShuttingDown):
        await steps.push(b"z", queue="other", wait=5)
    assert isinstance(await steps.pull(wait=50), Nothing)


async def test_stop_may_be_called_twice_and_nobody_waits_on(steps: Steps) -> None:
    pull = await steps.waits(steps.pull(wait=50))
    await steps.store.stop()
    await steps.store.stop()
    done, _ = await asyncio.wait([pull])
    assert pull in done
