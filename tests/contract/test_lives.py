from __future__ import annotations

import pytest
from contract.steps import Steps, number, still

from batchq import errors
from batchq.model import Pulled


async def test_delete_ends_a_life_with_all_it_holds(steps: Steps) -> None:
    pushed = await steps.push(b"a\nb\n")
    await steps.take(max=1, lease=5)
    assert await steps.store.delete("q", None) == pushed.queue_id
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()
    with pytest.raises(errors.NoSuchQueue):
        await steps.store.delete("q", None)
    again = await steps.push(b"c")
    assert again.offset == again.position == 0
    assert again.queue_id != pushed.queue_id
    await steps.passes(10)
    assert await steps.data() == b"c\n"


async def test_delete_of_another_life_is_refused(steps: Steps) -> None:
    await steps.push(b"a")
    with pytest.raises(errors.QueueReplaced):
        await steps.store.delete("q", "another")
    assert (await steps.stats()).lines == 1


async def test_waiting_pulls_wait_for_the_next_life(steps: Steps) -> None:
    first = await steps.push(b"")
    anyone = await steps.waits(steps.pull(wait=50))
    pinned = await steps.waits(steps.pull(wait=50, queue_id=first.queue_id))
    await steps.store.delete("q", None)
    with pytest.raises(errors.QueueReplaced):
        await pinned
    await still(anyone)
    await steps.push(b"b")
    answer = await anyone
    assert isinstance(answer, Pulled)
    assert answer.queue_id != first.queue_id


async def test_delete_answers_parked_and_waiting_pushes(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    parked = await steps.waits(steps.push(b"b", number(1)))
    for_room = await steps.waits(steps.push(b"y", wait=50))
    await steps.store.delete("q", None)
    for call in (parked, for_room):
        with pytest.raises(errors.QueueReplaced):
            await call


async def test_a_drained_closed_queue_is_forgotten_after_its_time(steps: Steps) -> None:
    end = await steps.close()
    await steps.passes(59)
    assert await steps.end() == end
    await steps.passes(2)
    assert (await steps.nothing()).queue_id is None
    with pytest.raises(errors.QueueReplaced):
        await steps.pull(queue_id=end.queue_id)
    assert (await steps.push(b"a")).queue_id != end.queue_id


async def test_a_closed_queue_with_lines_is_kept(steps: Steps) -> None:
    await steps.push(b"a")
    await steps.close()
    await steps.passes(200)
    assert await steps.data() == b"a\n"
    await steps.passes(59)
    await steps.end()
    await steps.passes(2)
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()


async def test_the_end_is_told_past_a_delete_to_those_who_pin_it(steps: Steps) -> None:
    await steps.push(b"a")
    end = await steps.close()
    await steps.pull()
    await steps.store.delete("q", None)
    await steps.push(b"new")
    assert await steps.end(queue_id=end.queue_id) == end
    told = await steps.end(queue_id=end.queue_id, ack=("one",))
    assert told.lost == ("one",)
    assert (await steps.stats()).ready_lines == 1
    await steps.passes(61)
    with pytest.raises(errors.QueueReplaced):
        await steps.pull(queue_id=end.queue_id)


async def test_a_known_duplicate_is_known_past_a_delete(steps: Steps) -> None:
    first = await steps.push(b"a", number(0))
    await steps.close(numbering=number(1))
    await steps.pull()
    await steps.store.delete("q", None)
    await steps.push(b"new", number(0, epoch=1))
    again = await steps.push(b"a", number(0), queue_id=first.queue_id)
    assert again.duplicate
    assert again.queue_id == first.queue_id
    with pytest.raises(errors.QueueReplaced):
        await steps.push(b"b", number(2), queue_id=first.queue_id)
    with pytest.raises(errors.QueueReplaced):
        await steps.push(b"b", queue_id=first.queue_id)
    assert (await steps.stats()).lines == 1


async def test_a_numbered_close_is_known_past_a_delete(steps: Steps) -> None:
    await steps.push(b"", number(0))
    end = await steps.close(numbering=number(1))
    await steps.store.delete("q", None)
    assert await steps.close(numbering=number(1), queue_id=end.queue_id) == end


async def test_names_that_are_only_waited_for_cost_nothing_lasting(steps: Steps) -> None:
    for index in range(20):
        name = f"name-{index}"
        await steps.nothing(name)
        pull = await steps.waits(steps.pull(name, wait=5))
        push = await steps.waits(steps.push(b"a", number(1), queue=name))
        await steps.leave(pull, push)
    waiting = await steps.waits(steps.pull("another", wait=5))
    await steps.passes(6)
    await waiting
    assert await steps.store.queues() == []
    for name in ("one", "two", "three"):
        await steps.push(b"a", queue=name)


async def test_statistics_of_one_life(steps: Steps) -> None:
    pushed = await steps.push(b"a", number(0))
    assert (await steps.store.stats("q", pushed.queue_id)).queue_id == pushed.queue_id
    with pytest.raises(errors.QueueReplaced):
        await steps.store.stats("q", "another")
    with pytest.raises(errors.QueueReplaced):
        await steps.store.producer("q", "p", "another")
    with pytest.raises(errors.NoSuchQueue):
        await steps.store.producer("other", "p", None)
