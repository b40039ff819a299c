from __future__ import annotations

from typing import Any

import pytest
from contract.steps import Steps, still

from batchq import errors
from batchq.model import Lease, Pulled


async def test_a_lease_holds_lines_until_the_ack(steps: Steps) -> None:
    pushed = await steps.push(b"a\nb\n")
    pulled = await steps.take(max=1, lease=5)
    assert pulled.lease is not None
    assert pulled.lease.seconds == 5
    assert await steps.store.ack("q", [pulled.lease.id], None) == pushed.queue_id
    await steps.passes(10)
    assert (await steps.take()).offset == 1
    await steps.nothing()


async def test_a_lease_that_runs_out_puts_lines_back_in_their_place(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    first = await steps.take(max=1, lease=5)
    await steps.passes(4.5)
    assert (await steps.stats()).ready_lines == 1
    await steps.passes(1)
    again = await steps.take()
    assert (again.offset, again.position, again.data) == (0, 0, b"a\nb\n")
    assert again.deliveries == 2
    assert first.lease is not None
    with pytest.raises(errors.LeaseLost) as told:
        await steps.store.ack("q", [first.lease.id], None)
    assert told.value.lost == (first.lease.id,)


async def test_a_lease_that_runs_out_wakes_a_waiting_pull(steps: Steps) -> None:
    await steps.push(b"a")
    await steps.take(lease=5)
    waiting = await steps.waits(steps.pull(wait=50))
    await steps.passes(5.5)
    answer = await waiting
    assert isinstance(answer, Pulled)
    assert answer.deliveries == 2


async def test_a_lease_is_never_longer_than_the_limit(steps: Steps) -> None:
    await steps.push(b"a")
    pulled = await steps.take(lease=1000)
    assert pulled.lease is not None
    assert pulled.lease.seconds == 100
    await steps.passes(101)
    assert (await steps.take()).deliveries == 2


async def test_the_deliveries_told_are_those_of_the_lines_given(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    await steps.take(max=1, lease=1)
    await steps.passes(2)
    await steps.take(max=2, lease=1)
    await steps.passes(2)
    assert (await steps.take(max=1)).deliveries == 3
    assert (await steps.take(max=1)).deliveries == 2


async def test_release_puts_lines_back_at_once(steps: Steps) -> None:
    await steps.push(b"a\nb\nc\n")
    one = await steps.take(max=1, lease=50, lease_id="one")
    await steps.take(max=1, lease=50, lease_id="two")
    assert one.lease == Lease("one", 50)
    await steps.store.release("q", ["one"], None)
    assert await steps.data() == b"a\n"
    assert await steps.data() == b"c\n"
    await steps.store.release("q", ["two"], None)
    again = await steps.take()
    assert (again.offset, again.deliveries) == (1, 2)


async def test_extend_counts_from_now(steps: Steps) -> None:
    await steps.push(b"a")
    await steps.take(lease=5, lease_id="one")
    await steps.passes(4)
    await steps.store.extend("q", ["one"], 5, None)
    await steps.passes(4.5)
    await steps.nothing()
    await steps.passes(1)
    assert (await steps.take()).deliveries == 2


@pytest.mark.parametrize("verb", ["ack", "release"])
async def test_what_is_known_is_done_whatever_is_lost(steps: Steps, verb: str) -> None:
    await steps.push(b"a\nb\n")
    await steps.take(max=1, lease=50, lease_id="one")
    with pytest.raises(errors.LeaseLost) as told:
        await getattr(steps.store, verb)("q", ["lost", "one", "gone"], None)
    assert told.value.lost == ("lost", "gone")
    assert (await steps.stats()).leases == 0
    assert (await steps.stats()).ready_lines == (1 if verb == "ack" else 2)


async def test_leases_of_a_queue_that_does_not_exist_are_lost(steps: Steps) -> None:
    with pytest.raises(errors.LeaseLost):
        await steps.store.ack("q", ["one"], None)


async def test_leases_belong_to_one_life(steps: Steps) -> None:
    await steps.push(b"a")
    await steps.take(lease=50, lease_id="one")
    with pytest.raises(errors.QueueReplaced):
        await steps.store.ack("q", ["one"], "another")
    await steps.store.delete("q", None)
    await steps.push(b"b")
    with pytest.raises(errors.LeaseLost):
        await steps.store.ack("q", ["one"], None)


async def test_a_pull_acknowledges_first(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    await steps.take(max=1, lease=50, lease_id="one")
    pulled = await steps.take(ack=("gone", "one"))
    assert pulled.lost == ("gone",)
    assert (await steps.stats()).stored_bytes == 0
    assert (await steps.nothing(ack=("one",))).lost == ("one",)
    assert (await steps.nothing("other", ack=("one",))).lost == ("one",)


async def test_a_pull_acknowledges_even_when_it_then_waits_and_leaves(steps: Steps) -> None:
    await steps.push(b"a")
    await steps.take(lease=50, lease_id="one")
    waiting = await steps.waits(steps.pull(wait=50, ack=("one",)))
    await steps.leave(waiting)
    assert (await steps.stats()).stored_bytes == 0


async def test_a_retry_with_its_lease_id_gets_the_same_lines(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    first = await steps.take(max=1, lease=50, lease_id="one")
    again = await steps.take(max=1, lease=50, lease_id="one", wait=50)
    assert (again.offset, again.data) == (first.offset, first.data)
    assert (await steps.stats()).leases == 1
    await steps.store.ack("q", ["one"], None)
    assert (await steps.take(max=1, lease=50, lease_id="one")).data == b"b\n"


async def test_a_retry_after_its_lease_ran_out_is_a_new_lease(steps: Steps) -> None:
    await steps.push(b"a\nb\n")
    await steps.take(max=1, lease=5, lease_id="one")
    await steps.passes(6)
    again = await steps.take(lease=5, lease_id="one")
    assert (again.lines, again.deliveries) == (2, 2)


@pytest.mark.parametrize("how", [{}, {"max": 1}, {"min": 2}])
@pytest.mark.parametrize("body", [b"a\nb\n", b"a\nb\nc\n"])
async def test_a_retry_while_the_first_waits_gets_the_same_lines(
    steps: Steps, body: bytes, how: dict[str, Any]
) -> None:
    first = await steps.waits(steps.pull(wait=50, lease=50, lease_id="one", **how))
    again = await steps.waits(steps.pull(wait=50, lease=50, lease_id="one", **how))
    await steps.push(body)
    answers = [await first, await again]
    assert isinstance(answers[0], Pulled)
    assert isinstance(answers[1], Pulled)
    assert answers[0].data == answers[1].data
    assert (await steps.stats()).leases == 1


async def test_a_retry_waits_on_when_the_first_gets_lines_at_its_end(steps: Steps) -> None:
    await steps.push(b"a")
    first = await steps.waits(steps.pull(min=3, wait=5, lease=50, lease_id="one"))
    await steps.passes(2)
    again = await steps.waits(steps.pull(min=3, wait=5, lease=50, lease_id="one"))
    await steps.passes(3.5)
    given = await first
    assert isinstance(given, Pulled)
    await steps.push(b"b")
    await steps.passes(3)
    same = await again
    assert isinstance(same, Pulled)
    assert (same.offset, same.data) == (given.offset, given.data)
    stats = await steps.stats()
    assert (stats.leases, stats.leased_lines, stats.ready_lines) == (1, 1, 1)
    await steps.store.ack("q", ["one"], None)
    assert await steps.data() == b"b\n"
    assert (await steps.stats()).stored_bytes == 0


async def test_a_retry_while_the_first_waits_is_told_the_end(steps: Steps) -> None:
    await steps.push(b"")
    calls = [await steps.waits(steps.pull(wait=50, lease=5, lease_id="one")) for _ in range(2)]
    end = await steps.close()
    assert [await call for call in calls] == [end, end]


async def test_the_end_waits_for_leases(steps: Steps) -> None:
    await steps.push(b"a")
    await steps.take(lease=5, lease_id="one")
    await steps.close()
    await steps.nothing()
    waiting = await steps.waits(steps.pull(wait=50))
    await steps.passes(2)
    await still(waiting)
    await steps.store.ack("q", ["one"], None)
    end = await waiting
    assert end == await steps.end()


async def test_no_more_leases_are_out_than_may_be(steps: Steps) -> None:
    await steps.push(b"a\n" * 10)
    leases = []
    for name in "abcdef":
        pulled = await steps.take(max=1, lease=50, lease_id=name)
        assert pulled.lease is not None
        leases.append(pulled.lease.id)
    with pytest.raises(errors.TooManyLeases):
        await steps.pull(max=1, lease=50, wait=5)
    stats = await steps.stats()
    assert (stats.leases, stats.leased_lines, stats.ready_lines) == (6, 6, 4)
    # A retry takes no new one, and who takes lines for good none at all.
    assert (await steps.take(lease=50, lease_id="a")).offset == 0
    assert (await steps.take(max=1)).offset == 6
    # One more is free once one is done with, also by the pull itself.
    assert (await steps.take(max=1, lease=50, ack=(leases[0],))).offset == 7
    await steps.store.release("q", [leases[1]], None)
    assert (await steps.take(max=1, lease=50)).offset == 1


async def test_a_pull_that_waits_is_told_that_there_are_too_many_leases(steps: Steps) -> None:
    await steps.push(b"a\n" * 6)
    for _ in range(6):
        await steps.take(max=1, lease=50)
    waiting = await steps.waits(steps.pull(lease=50, wait=90))
    await steps.push(b"b\n")
    with pytest.raises(errors.TooManyLeases):
        await waiting
    assert (await steps.stats()).ready_lines == 1
