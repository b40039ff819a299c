from __future__ import annotations

from typing import Any

import pytest
from contract.steps import Steps, number

from batchq import errors
from batchq.model import End, ProducerState

DIGEST = "xxh3-128:" + "0f" * 16


async def test_close_tells_the_totals_and_then_every_reader_the_end(steps: Steps) -> None:
    pushed = await steps.push(b"a\nbb\n")
    end = await steps.close(lines=2, bytes=5, digest=DIGEST, unterminated=True)
    assert end == End(pushed.queue_id, 2, 5, DIGEST, True)
    assert await steps.data() == b"a\nbb\n"
    assert await steps.end() == end
    assert await steps.end(wait=50) == end
    stats = await steps.stats()
    assert (stats.closed, stats.drained, stats.digest) == (True, True, DIGEST)
    assert stats.unterminated


async def test_close_creates_the_queue(steps: Steps) -> None:
    waiting = await steps.waits(steps.pull(wait=50))
    end = await steps.close()
    assert (end.lines, end.bytes, end.digest, end.unterminated) == (0, 0, None, False)
    assert await waiting == end


@pytest.mark.parametrize("totals", [{"lines": 2}, {"bytes": 3}, {"lines": 1, "bytes": 1}])
async def test_other_totals_leave_it_open(steps: Steps, totals: dict[str, Any]) -> None:
    await steps.push(b"a")
    with pytest.raises(errors.TotalsDiffer):
        await steps.close(**totals)
    assert not (await steps.stats()).closed
    assert (await steps.push(b"b")).offset == 1


async def test_other_totals_create_no_queue(steps: Steps) -> None:
    with pytest.raises(errors.TotalsDiffer):
        await steps.close(lines=1)
    with pytest.raises(errors.NoSuchQueue):
        await steps.stats()


async def test_totals_count_what_was_pulled(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    await steps.take(max=1)
    await steps.close(lines=2, bytes=4)


async def test_closing_a_closed_queue_changes_nothing(steps: Steps) -> None:
    end = await steps.close(digest=DIGEST)
    assert await steps.close() == end
    assert await steps.close(unterminated=True) == end


async def test_a_closed_queue_takes_no_push(steps: Steps) -> None:
    await steps.push(b"a", number(0))
    await steps.close()
    with pytest.raises(errors.QueueClosed):
        await steps.push(b"b")
    with pytest.raises(errors.QueueClosed):
        await steps.push(b"b", number(1))
    with pytest.raises(errors.QueueClosed):
        await steps.push(b"b", number(7), wait=5)
    assert (await steps.push(b"a", number(0))).duplicate


async def test_closing_answers_what_waits(steps: Steps) -> None:
    await steps.push(b"x" * 99)
    parked = await steps.waits(steps.push(b"b", number(1)))
    for_room = await steps.waits(steps.push(b"y", wait=50))
    await steps.close()
    for call in (parked, for_room):
        with pytest.raises(errors.QueueClosed):
            await call
    assert (await steps.stats()).parked_pushes == 0


async def test_a_numbered_close_is_the_next_batch(steps: Steps) -> None:
    closing = await steps.waits(steps.close(lines=2, numbering=number(2)))
    second = await steps.waits(steps.push(b"b", number(1)))
    await steps.push(b"a", number(0))
    await second
    end = await closing
    assert (end.lines, end.producer) == (2, ProducerState(0, 2, 2, 4))
    assert await steps.close(lines=2, numbering=number(2)) == end


async def test_a_stale_writer_cannot_close(steps: Steps) -> None:
    await steps.push(b"a", number(0, epoch=1))
    with pytest.raises(errors.StaleEpoch):
        await steps.close(numbering=number(0, epoch=0))
    assert not (await steps.stats()).closed


async def test_a_numbered_close_with_other_totals_uses_no_number(steps: Steps) -> None:
    await steps.push(b"a", number(0))
    with pytest.raises(errors.TotalsDiffer):
        await steps.close(lines=9, numbering=number(1))
    assert (await steps.push(b"b", number(1))).offset == 1


async def test_a_close_of_another_life_is_refused(steps: Steps) -> None:
    await steps.push(b"a")
    with pytest.raises(errors.QueueReplaced):
        await steps.close(queue_id="another")
