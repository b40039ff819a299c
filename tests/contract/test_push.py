from __future__ import annotations

import pytest
from contract.steps import Steps
from support.clock import settle

from batchq import errors
from batchq.model import Pulled


async def test_a_push_creates_the_queue_and_tells_where_it_went(steps: Steps) -> None:
    first = await steps.push(b"a\nbc\n")
    assert (first.offset, first.position, first.lines) == (0, 0, 2)
    assert not first.duplicate
    assert first.producer is None
    second = await steps.push(b"d")
    assert (second.offset, second.position, second.lines) == (2, 5, 1)
    assert second.queue_id == first.queue_id


async def test_an_empty_batch_creates_the_queue_and_adds_nothing(steps: Steps) -> None:
    pushed = await steps.push(b"")
    assert (pushed.offset, pushed.position, pushed.lines) == (0, 0, 0)
    assert (await steps.stats()).lines == 0


@pytest.mark.parametrize("body", [b"\n", b"\n\n", b"\r\n", b"\x00\n", b"\xff\xfe\n", b"a\r\n\n"])
async def test_every_byte_comes_back(steps: Steps, body: bytes) -> None:
    await steps.push(body)
    assert await steps.data() == body


async def test_queues_are_apart(steps: Steps) -> None:
    await steps.push(b"a\n", queue="one")
    await steps.push(b"b\n", queue="two")
    assert await steps.data("two") == b"b\n"
    assert await steps.data("one") == b"a\n"
    assert [stats.queue for stats in await steps.store.queues()] == ["one", "two"]


async def test_full_refuses_at_once_without_wait(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    with pytest.raises(errors.QueueFull):
        await steps.push(b"y")
    assert (await steps.stats()).lines == 1


async def test_a_push_waits_for_room(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    waiting = await steps.waits(steps.push(b"y", wait=5))
    assert (await steps.stats()).parked_pushes == 1
    assert await steps.data() == b"x" * 99 + b"\n"
    assert (await waiting).offset == 1
    assert await steps.data() == b"y\n"


async def test_the_wait_for_room_ends(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    waiting = await steps.waits(steps.push(b"y", wait=5))
    await steps.passes(4.5)
    assert not waiting.done()
    await steps.passes(1)
    with pytest.raises(errors.QueueFull):
        await waiting
    assert (await steps.stats()).parked_pushes == 0


async def test_leased_lines_still_take_room(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    lease = (await steps.take(lease=50)).lease
    with pytest.raises(errors.QueueFull):
        await steps.push(b"y")
    waiting = await steps.waits(steps.push(b"y", wait=5))
    assert lease is not None
    await steps.store.ack("q", [lease.id], None)
    assert (await waiting).offset == 1


async def test_pushes_that_wait_for_room_keep_their_order(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    calls = [await steps.waits(steps.push(name, wait=5)) for name in (b"1", b"2", b"3")]
    await steps.pull()
    assert [(await call).offset for call in calls] == [1, 2, 3]
    assert await steps.data() == b"1\n2\n3\n"


@pytest.mark.parametrize("leaves", [True, False])
async def test_those_behind_a_push_that_gave_up_go_on(steps: Steps, leaves: bool) -> None:
    await steps.push(b"x" * 89)
    first = await steps.waits(steps.push(b"1" * 19, wait=5))
    second = await steps.waits(steps.push(b"2" * 4, wait=50))
    if leaves:
        await steps.leave(first)
    else:
        await steps.passes(6)
        with pytest.raises(errors.QueueFull):
            await first
    await settle()
    assert second.done()
    assert (await second).offset == 1


async def test_a_cancelled_wait_for_room_leaves_its_place(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    first = await steps.waits(steps.push(b"1", numbering=None, wait=50))
    await steps.leave(first)
    assert (await steps.stats()).parked_pushes == 0


async def test_larger_than_a_queue_is_never_waited_for(steps: Steps) -> None:
    with pytest.raises(errors.TooLarge):
        await steps.push(b"x" * 100, wait=50)
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()


async def test_too_many_queues(steps: Steps) -> None:
    for name in ("one", "two", "three"):
        await steps.push(b"a", queue=name)
    with pytest.raises(errors.TooManyQueues):
        await steps.push(b"a", queue="four")
    with pytest.raises(errors.TooManyQueues):
        await steps.close("four")
    await steps.store.delete("two", None)
    assert (await steps.push(b"a", queue="four")).offset == 0


async def test_a_queue_id_speaks_to_one_life_only(steps: Steps) -> None:
    first = await steps.push(b"a")
    assert (await steps.push(b"b", queue_id=first.queue_id)).offset == 1
    with pytest.raises(errors.QueueReplaced):
        await steps.push(b"c", queue_id="another")
    await steps.store.delete("q", None)
    with pytest.raises(errors.QueueReplaced):
        await steps.push(b"c", queue_id=first.queue_id)
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()


async def test_accounting(steps: Steps) -> None:
    await steps.push(b"a\nbb\nccc\ndddd\n")
    await steps.take(max=1)
    leased = await steps.take(max=1, lease=5)
    assert leased.lease is not None
    stats = await steps.stats()
    assert (stats.lines, stats.bytes) == (4, 14)
    assert (stats.ready_lines, stats.ready_bytes) == (2, 9)
    assert (stats.leased_lines, stats.leases) == (1, 1)
    assert stats.stored_bytes == 12
    await steps.store.ack("q", [leased.lease.id], None)
    assert isinstance(await steps.pull(), Pulled)
    stats = await steps.stats()
    assert (stats.stored_bytes, stats.ready_lines, stats.leased_lines) == (0, 0, 0)
    assert (stats.lines, stats.bytes) == (4, 14)
