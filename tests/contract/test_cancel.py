"""A pull that is cancelled before it was answered has taken nothing, at whatever moment.

A store that commits in a thread is caught in the middle of it: the pull has been decided,
and the loop has not yet been told that it is durable.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from contract.steps import Steps, still
from support.cancelling import interrupted

from batchq import errors
from batchq.model import End, Pulled


async def _cancelled_on_the_way(steps: Steps, **how: Any) -> bool:
    """Cancels a pull of what is ready, if it isn't answered at once; tells whether it did."""
    pull = steps.begin(steps.pull(**how))
    await asyncio.sleep(0)
    cancelled = pull.cancel()
    await asyncio.wait([pull])
    assert pull.cancelled() == cancelled
    return cancelled


async def test_a_pull_cancelled_while_its_lines_leave_takes_nothing(steps: Steps) -> None:
    pushed = await steps.push(b"a\nbb\nc\n")
    before = await steps.stats()
    cancelled = await _cancelled_on_the_way(steps, max=2)
    if cancelled:
        assert await steps.stats() == before
        assert await steps.take() == Pulled(pushed.queue_id, 0, 0, 3, b"a\nbb\nc\n", 0, 1)
    else:
        assert await steps.data() == b"c\n"
    assert (await steps.stats()).stored_bytes == 0
    await steps.nothing()


async def test_it_may_be_cancelled_more_than_once(steps: Steps) -> None:
    await steps.push(b"a\n")
    pull = steps.begin(steps.pull())
    await asyncio.sleep(0)
    cancelled = pull.cancel()
    while not pull.done():
        pull.cancel()
        await asyncio.sleep(0)
    if cancelled:
        assert pull.cancelled()
        assert await steps.data() == b"a\n"


async def test_lines_put_back_again_and_again_stay_where_they_are(steps: Steps) -> None:
    await steps.push(b"".join(b"%d\n" % n for n in range(20)))
    given = 0
    for size in (3, 1, 4, 2):
        given += 0 if await _cancelled_on_the_way(steps, max=size) else size
        assert (await steps.take(max=1, lease=50)).offset == given
        given += 1
    for offset in range(given, 20):
        again = await steps.take(max=1)
        assert (again.offset, again.data, again.deliveries) == (offset, b"%d\n" % offset, 1)
    await steps.nothing()


async def test_others_that_wait_get_the_lines(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    leaving = steps.begin(steps.pull())
    await asyncio.sleep(0)
    if not leaving.cancel():
        return
    first = steps.begin(steps.pull(max=1, wait=50))
    second = steps.begin(steps.pull(max=1, wait=50))
    answers = [await first, await second]
    assert [(a.offset, a.deliveries) for a in answers if isinstance(a, Pulled)] == [(0, 1), (1, 1)]


async def test_a_run_that_was_taken_in_the_middle_is_whole_again(steps: Steps) -> None:
    """What goes back lies between lines that are done with."""
    await steps.push(b"a\nb\nc\nd\ne\n")
    await steps.take(max=1, lease=50, lease_id="one")
    cancelled = await _cancelled_on_the_way(steps, max=2)
    if cancelled:
        await steps.take(max=1)
        await _cancelled_on_the_way(steps, max=2)
        again = await steps.take(max=9)
        assert (again.offset, again.data) == (2, b"c\nd\ne\n")
    else:
        assert await steps.data() == b"d\ne\n"
    await steps.store.release("q", ["one"], None)
    assert await steps.data() == b"a\n"


async def test_a_closed_queue_has_not_ended(steps: Steps) -> None:
    await steps.push(b"a\n")
    await steps.close()
    leaving = steps.begin(steps.pull())
    await asyncio.sleep(0)
    waiting = steps.begin(steps.pull(wait=50))
    cancelled = leaving.cancel()
    answer = await waiting
    if cancelled:
        assert isinstance(answer, Pulled)
        assert answer.data == b"a\n"
    assert isinstance(await steps.pull(), End)
    assert (await steps.stats()).drained


async def test_a_closed_queue_that_was_not_emptied_is_kept(steps: Steps) -> None:
    """It is forgotten its time after it was emptied in the end, and not before."""
    await steps.push(b"a\n")
    await steps.close()
    if not await _cancelled_on_the_way(steps):
        return
    await steps.passes(100)
    assert (await steps.stats()).ready_lines == 1
    assert await steps.data() == b"a\n"
    await steps.passes(59)
    await steps.end()
    await steps.passes(2)
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()


async def test_no_room_is_made(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    push = await steps.waits(steps.push(b"y" * 35, wait=50))
    if await _cancelled_on_the_way(steps):
        await still(push)
        await steps.take()
    assert (await push).offset == 1


async def test_a_delete_meanwhile_wins(steps: Steps) -> None:
    first = await steps.push(b"a\n")
    leaving = steps.begin(steps.pull())
    await asyncio.sleep(0)
    cancelled = leaving.cancel()
    deleted = steps.begin(steps.store.delete("q", None))
    await asyncio.wait([leaving, deleted])
    assert leaving.cancelled() == cancelled
    assert await deleted == first.queue_id
    assert (await steps.push(b"b\n")).queue_id != first.queue_id
    assert await steps.data() == b"b\n"
    with pytest.raises(errors.QueueReplaced):
        await steps.push(b"c\n", queue_id=first.queue_id)


async def test_a_delete_before_a_pull_could_return_its_lines(steps: Steps) -> None:
    """The pull was served as the push came; it goes on when the queue is gone."""
    pull = await steps.waits(steps.pull(wait=50))
    push = steps.begin(steps.push(b"a\n"))
    first = await push
    await steps.store.delete("q", None)
    answer = await pull
    assert isinstance(answer, Pulled)
    assert answer.data == b"a\n"
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()
    assert (await steps.push(b"b\n")).queue_id != first.queue_id


async def test_a_delete_as_a_pull_is_served(steps: Steps) -> None:
    """The pull has the lines of the one life or of the other."""
    pull = await steps.waits(steps.pull(wait=50))
    first = await steps.push(b"a\n")
    await steps.store.delete("q", None)
    second = await steps.push(b"b\n")
    assert second.queue_id != first.queue_id
    answer = await pull
    assert isinstance(answer, Pulled)
    served = (answer.queue_id, answer.offset, answer.data)
    assert served in {(first.queue_id, 0, b"a\n"), (second.queue_id, 0, b"b\n")}


async def test_leased_lines_that_nobody_was_handed_are_not_counted(steps: Steps) -> None:
    pull = await steps.waits(interrupted(steps.pull(wait=50, lease=50, lease_id="one")))
    await steps.push(b"a\n")
    await asyncio.wait([pull])
    assert pull.cancelled()
    assert (await steps.stats()).leases == 0
    again = await steps.take(lease=50, lease_id="one")
    assert (again.offset, again.deliveries) == (0, 1)


async def test_a_retry_that_is_cancelled_leaves_the_first_its_lease(steps: Steps) -> None:
    calls = [steps.pull(wait=50, lease=50, lease_id="one") for _ in range(2)]
    first = await steps.waits(calls[0])
    retry = await steps.waits(interrupted(calls[1]))
    await steps.push(b"a\n")
    await asyncio.wait([retry])
    assert retry.cancelled()
    answer = await first
    assert isinstance(answer, Pulled)
    assert await steps.store.ack("q", ["one"], None) == answer.queue_id
    await steps.nothing()


async def test_a_retry_that_is_cancelled_counts_no_delivery(steps: Steps) -> None:
    calls = [steps.pull(wait=50, lease=5, lease_id="one") for _ in range(2)]
    first = await steps.waits(calls[0])
    retry = await steps.waits(interrupted(calls[1]))
    await steps.push(b"a\n")
    await asyncio.wait([first, retry])
    assert retry.cancelled()
    await steps.passes(6)
    assert (await steps.take()).deliveries == 2


@pytest.mark.parametrize("turn", [1, 2])
async def test_a_pull_cancelled_when_all_is_committed_takes_nothing(
    steps: Steps, turn: int
) -> None:
    """It waited: its first turn is when it was given lines, its second when they are gone."""
    pull = await steps.waits(interrupted(steps.pull(wait=50), turn))
    await steps.push(b"a\nb\n")
    await asyncio.wait([pull])
    if not pull.cancelled():
        assert turn == 2
        return
    assert (await steps.stats()).ready_lines == 2
    again = await steps.take(max=1)
    assert (again.offset, again.data, again.deliveries) == (0, b"a\n", 1)
    assert await steps.data() == b"b\n"


async def test_the_end_is_not_told_before_a_pull_has_its_lines(steps: Steps) -> None:
    await steps.push(b"a\n")
    await steps.close()
    pull = steps.begin(interrupted(steps.pull(), 1))
    other = steps.begin(steps.pull(wait=50))
    await asyncio.wait([pull])
    answer = await other
    if pull.cancelled():
        assert isinstance(answer, Pulled)
    # What is out without a lease is noted as gone a moment later where several stores share it.
    assert isinstance(await steps.pull(wait=50), End)


async def test_a_delete_wins_also_when_all_is_committed(steps: Steps) -> None:
    await steps.push(b"a\n")
    pull = steps.begin(interrupted(steps.pull(), 1))
    await asyncio.sleep(0)
    deleted = steps.begin(steps.store.delete("q", None))
    await asyncio.wait([pull, deleted])
    assert deleted.exception() is None
    await steps.nothing()
    assert await steps.store.queues() == []
