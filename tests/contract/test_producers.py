from __future__ import annotations

import pytest
from contract.steps import Steps, number, still
from support.clock import settle

from batchq import errors
from batchq.model import ProducerState


async def test_numbered_pushes_count_lines_and_bytes(steps: Steps) -> None:
    first = await steps.push(b"a\nb\n", number(0))
    assert first.producer == ProducerState(0, 0, 2, 4)
    second = await steps.push(b"c\n", number(1))
    assert second.producer == ProducerState(0, 1, 3, 6)
    assert await steps.store.producer("q", "p", None) == second.producer
    assert await steps.store.producer("q", "other", None) is None


async def test_a_duplicate_adds_nothing(steps: Steps) -> None:
    await steps.push(b"a", number(0))
    again = await steps.push(b"a", number(0))
    assert again.duplicate
    assert again.producer == ProducerState(0, 0, 1, 2)
    assert (await steps.stats()).lines == 1


async def test_a_duplicate_of_a_batch_long_pulled_adds_nothing(steps: Steps) -> None:
    await steps.push(b"a", number(0))
    await steps.push(b"b", number(1))
    await steps.pull()
    assert (await steps.push(b"a", number(0))).duplicate


async def test_batches_ahead_wait_for_those_before_them(steps: Steps) -> None:
    third = await steps.waits(steps.push(b"c", number(2)))
    second = await steps.waits(steps.push(b"b", number(1)))
    assert (await steps.push(b"a", number(0))).offset == 0
    assert (await second).offset == 1
    assert (await third).offset == 2
    assert await steps.data() == b"a\nb\nc\n"


async def test_what_is_only_parked_is_no_queue(steps: Steps) -> None:
    waiting = await steps.waits(steps.push(b"b", number(1)))
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()
    assert await steps.store.queues() == []
    await steps.leave(waiting)


async def test_a_gap_that_stays_is_told(steps: Steps) -> None:
    await steps.push(b"a", number(0))
    waiting = await steps.waits(steps.push(b"d", number(3)))
    await steps.passes(7.5)
    await still(waiting)
    await steps.passes(1)
    with pytest.raises(errors.SequenceGap) as told:
        await waiting
    assert (told.value.expected, told.value.received) == (1, 3)
    assert (await steps.stats()).parked_pushes == 0


async def test_too_many_ahead_are_refused_at_once(steps: Steps) -> None:
    calls = [await steps.waits(steps.push(b"x", number(seq))) for seq in (1, 2, 3, 4)]
    with pytest.raises(errors.SequenceGap) as told:
        await steps.push(b"x", number(5))
    assert (told.value.expected, told.value.received) == (0, 5)
    await steps.push(b"x", number(0))
    assert [(await call).offset for call in calls] == [1, 2, 3, 4]


async def test_too_many_bytes_ahead_are_refused_at_once(steps: Steps) -> None:
    waiting = await steps.waits(steps.push(b"x" * 39, number(1)))
    with pytest.raises(errors.SequenceGap):
        await steps.push(b"x", number(2))
    await steps.push(b"x", number(0))
    await waiting


async def test_the_next_may_wait_for_room_whatever_is_parked(steps: Steps) -> None:
    await steps.push(b"x" * 99, number(0))
    calls = [await steps.waits(steps.push(b"y", number(seq))) for seq in (2, 3, 4, 5)]
    following = await steps.waits(steps.push(b"y", number(1), wait=5))
    await steps.pull()
    assert (await following).offset == 1
    assert [(await call).offset for call in calls] == [2, 3, 4, 5]


async def test_a_parked_batch_sent_again_is_stored_once(steps: Steps) -> None:
    first = await steps.waits(steps.push(b"b", number(1)))
    again = await steps.waits(steps.push(b"b", number(1)))
    await steps.push(b"a", number(0))
    assert sorted([(await first).duplicate, (await again).duplicate]) == [False, True]
    assert await steps.data() == b"a\nb\n"


async def test_a_parked_batch_sent_again_outlives_its_first_sender(steps: Steps) -> None:
    first = await steps.waits(steps.push(b"b", number(1)))
    again = await steps.waits(steps.push(b"b", number(1)))
    await steps.leave(first)
    await steps.push(b"a", number(0))
    await again
    assert await steps.data() == b"a\nb\n"


async def test_a_lower_epoch_is_fenced(steps: Steps) -> None:
    await steps.push(b"a", number(0, epoch=5))
    for seq in (0, 1, 7):
        with pytest.raises(errors.StaleEpoch) as told:
            await steps.push(b"b", number(seq, epoch=4))
        assert told.value.epoch == 5


async def test_a_higher_epoch_takes_hold_with_its_seq_0(steps: Steps) -> None:
    await steps.push(b"a", number(0, epoch=1))
    old = await steps.waits(steps.push(b"c", number(2, epoch=1)))
    new = await steps.waits(steps.push(b"e", number(1, epoch=2)))
    await still(old)
    claimed = await steps.push(b"", number(0, epoch=2))
    assert claimed.producer == ProducerState(2, 0, 1, 2)
    with pytest.raises(errors.StaleEpoch) as told:
        await old
    assert told.value.epoch == 2
    assert (await new).offset == 1


async def test_a_higher_epoch_not_begun_fences_nobody(steps: Steps) -> None:
    await steps.push(b"a", number(0))
    ahead = await steps.waits(steps.push(b"z", number(1, epoch=1)))
    assert (await steps.push(b"b", number(1))).offset == 1
    await steps.leave(ahead)


async def test_a_claim_needs_no_room(steps: Steps) -> None:
    await steps.push(b"x" * 99, number(0))
    waiting = await steps.waits(steps.push(b"y", number(1), wait=5))
    assert (await steps.push(b"", number(0, epoch=1))).producer == ProducerState(1, 0, 1, 100)
    await steps.passes(6)
    with pytest.raises(errors.StaleEpoch):
        await waiting


async def test_a_new_epoch_fences_what_waits_for_room(steps: Steps) -> None:
    await steps.push(b"x" * 99, number(0))
    waiting = await steps.waits(steps.push(b"y", number(1), wait=50))
    await steps.push(b"", number(0, epoch=1))
    await settle()
    assert waiting.done()
    with pytest.raises(errors.StaleEpoch):
        await waiting


async def test_a_batch_stored_while_its_twin_waits_for_room_is_known(steps: Steps) -> None:
    await steps.push(b"x" * 19 + b"\n" + b"x" * 79, number(0))
    first = await steps.waits(steps.push(b"y" * 14, number(1), wait=50))
    again = await steps.waits(steps.push(b"y" * 14, number(1), wait=50))
    await steps.take(max=1)
    assert not (await first).duplicate
    await steps.close()
    assert (await again).duplicate
    assert (await steps.stats()).lines == 3


async def test_too_many_producers(steps: Steps) -> None:
    await steps.push(b"a", number(0, producer="one"))
    await steps.push(b"a", number(0, producer="two"))
    with pytest.raises(errors.TooManyProducers):
        await steps.push(b"a", number(0, producer="three"))
    assert (await steps.push(b"a", number(1, producer="one"))).offset == 2


async def test_a_close_and_a_push_of_one_number(steps: Steps) -> None:
    push = await steps.waits(steps.push(b"b", number(1)))
    close = await steps.waits(steps.close(numbering=number(1)))
    await steps.push(b"a", number(0))
    assert (await push).offset == 1
    with pytest.raises(errors.SequenceGap):
        await close
