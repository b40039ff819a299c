"""`batchq haproxy move`: each line once and in order, whatever became of earlier tries."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.accounting import Account, Delivery
from support.copies import batchq, start
from support.faults import Fault, Kind
from support.proxy import Proxy, address_of
from support.servers import ServerProcess
from support.stream import digest_of

from batchq.cli.moving import MoveError, move
from batchq_client import Client, Numbering, Pulled
from batchq_client.errors import ClientError, NoSuchQueue, OutcomeUnknown

LINES = [b"".join(b"%d %d\n" % (batch, line) for line in range(5_000)) for batch in range(60)]
"""Batches of a queue that takes several pulls."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of two shards; use queue names of your own."""
    folder = tmp_path_factory.mktemp("shards")
    with (
        ServerProcess("--store", f"sqlite:{folder / 'a.sqlite'}") as one,
        ServerProcess("--store", f"sqlite:{folder / 'd.sqlite'}") as other,
    ):
        yield one.url, other.url


async def written(url: str, queue: str, *, closed: bool, account: Account | None = None) -> None:
    """Fills a queue; closed, its last line has no newline."""
    async with Client(url) as client:
        for seq, data in enumerate(LINES):
            if account is not None:
                account.attempted("w", seq, data)
            stored = await client.push(queue, data, numbering=Numbering("w", 0, seq))
            if account is not None:
                account.acknowledged("w", seq, offset=stored.offset)
        if closed:
            await client.close(queue, digest=digest_of([*LINES[:-1], LINES[-1][:-1]]),
                               unterminated=True)  # fmt: skip


async def gone(url: str, queue: str) -> None:
    async with Client(url) as client:
        with pytest.raises(NoSuchQueue):
            await client.queue(queue)


async def arrived(url: str, queue: str, account: Account, *, closed: bool) -> None:
    """Reads all that a queue has; nothing is lost, twice or out of place, and its state is kept."""
    async with Client(url) as client:
        there = await client.queue(queue)
        assert there.closed == closed
        assert there.unterminated == closed
        assert (there.digest is not None) == closed
        while isinstance(got := await client.pull(queue, max_bytes=2**22, wait=0.0), Pulled):
            account.delivered(Delivery(got.offset, got.position, got.lines, got.data))
    report = account.report()
    report.assert_clean()
    assert report.batches == len(LINES)
    assert report.digest == digest_of(LINES)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_a_move_that_was_ended_is_made_again(
    shards: tuple[str, str], number: signal.Signals, closed: bool
) -> None:
    source, target = shards
    queue, account = f"ended-{number.name}-{closed}", Account()
    await written(source, queue, closed=closed, account=account)
    async with Proxy(address_of(target)) as proxy:
        proxy.inject(Fault(Kind.BLACK_HOLE, after=2**20 * 3 // 2, seconds=60.0))
        moving = start("haproxy", "move", queue, source, proxy.url, "--lease", "3")
        await proxy.struck()
        moving.send_signal(number)
        _, said = await asyncio.to_thread(moving.communicate)
        if number is not signal.SIGKILL:
            assert (moving.returncode, said.decode().splitlines()) == (
                1, [f"Error: {queue}: not moved: interrupted"],
            )  # fmt: skip
    async with Client(source) as client, Client(target) as other:
        left = await client.queue(queue)
        assert left.closed == closed
        assert left.ready_lines + left.leased_lines == left.lines
        assert (left.leased_lines > 0) == (number is signal.SIGKILL)
        assert (await other.queue(queue)).ready_lines > 0
    for told in ("moved", "is not there, or was moved before"):
        done = await asyncio.to_thread(batchq, "haproxy", "move", queue, source, target)
        assert (done.returncode, done.stdout.decode()) == (0, f"{queue}: {told}\n"), done.stderr
    await gone(source, queue)
    await arrived(target, queue, account, closed=closed)


class Undeletable(Client):
    """A shard that is lost before it is told to delete."""

    async def delete(self, queue: str, **_: object) -> None:
        raise ConnectionError(queue)


@pytest.mark.parametrize("closed", [False, True])
async def test_a_move_that_ended_just_before_the_deletion(
    shards: tuple[str, str], closed: bool
) -> None:
    source, target = shards
    queue, account = f"deletion-{closed}", Account()
    await written(source, queue, closed=closed, account=account)
    async with Undeletable(source) as one, Client(target) as other:
        with pytest.raises(ConnectionError):
            await move(queue, one, other)
        assert (await other.queue(queue)).closed == closed
    async with Client(source) as one, Client(target) as other:
        assert await move(queue, one, other)
        assert not await move(queue, one, other)
    await arrived(target, queue, account, closed=closed)


async def test_a_move_of_a_queue_that_was_deleted_unheard(shards: tuple[str, str]) -> None:
    """The answer to the deletion is lost: it is asked for again, and was done."""
    source, target = shards
    queue, account = "unheard", Account()
    await written(source, queue, closed=False, account=account)

    class Deaf(Client):
        deaf = True

        async def delete(self, queue: str, *, queue_id: str | None = None) -> None:
            deaf, self.deaf = self.deaf, False
            await super().delete(queue, queue_id=queue_id)
            if deaf:
                raise OutcomeUnknown(queue)

    async with Deaf(source) as one, Client(target) as other:
        assert await move(queue, one, other)
    await arrived(target, queue, account, closed=False)


async def test_lines_on_leases_are_waited_for(shards: tuple[str, str]) -> None:
    source, target = shards
    lines = [b"%d\n" % number for number in range(1, 11)]
    async with Client(source) as one, Client(target) as other:
        await one.push("leased", b"".join(lines))
        await one.pull("leased", maximum=4, lease=600.0, lease_id="held")
        with pytest.raises(MoveError, match=r"4 lines are still out on leases after 0\.1 s"):
            await move("leased", one, other, lease_wait=0.1)
        with pytest.raises(NoSuchQueue):
            await other.queue("leased")
        moving = asyncio.create_task(move("leased", one, other))
        await one.extend("leased", ["held"], 1.0)
        assert await moving
        got = await other.pull("leased", wait=0.0)
        assert isinstance(got, Pulled)
        assert got.data == b"".join(lines)


async def test_what_was_acknowledged_is_not_moved(shards: tuple[str, str]) -> None:
    source, target = shards
    async with Client(source) as one, Client(target) as other:
        await one.push("gaps", b"1\n2\n3\n4\n5\n")
        for lease in "abc":
            await one.pull("gaps", maximum=1, lease=60.0, lease_id=lease)
        await one.ack("gaps", ["b"])
        await one.release("gaps", ["a", "c"])
        await one.close("gaps", digest=digest_of([b"1\n2\n3\n4\n5"]), unterminated=True)
        assert await move("gaps", one, other)
        there = await other.queue("gaps")
        assert (there.lines, there.closed, there.unterminated) == (4, True, True)
        assert there.digest is None
        got = await other.pull("gaps", wait=0.0)
        assert isinstance(got, Pulled)
        assert got.data == b"1\n3\n4\n5\n"


@pytest.mark.parametrize("closed", [False, True])
async def test_a_queue_without_lines(shards: tuple[str, str], closed: bool) -> None:
    source, target = shards
    queue = f"empty-{closed}"
    async with Client(source) as one, Client(target) as other:
        await one.push(queue, b"1\n")
        await one.pull(queue, wait=0.0)
        if closed:
            await one.close(queue, digest=digest_of([b"1\n"]))
        assert await move(queue, one, other)
        there = await other.queue(queue)
        assert (there.lines, there.closed, there.drained) == (0, closed, closed)
        assert not await move(queue, one, other)


@pytest.mark.parametrize("how", ["made", "written", "read"])
async def test_a_queue_of_others_at_the_target_is_not_touched(
    shards: tuple[str, str], how: str
) -> None:
    source, target = shards
    queue = f"others-{how}"
    async with Undeletable(source) as one, Client(target) as other:
        await one.push(queue, b"1\n2\n")
        if how != "made":
            with suppress(ConnectionError):
                await move(queue, one, other)
        if how == "read":
            await other.pull(queue, maximum=1, wait=0.0)
        else:
            await other.push(queue, b"3\n")
        before = await other.queue(queue)
        with pytest.raises(MoveError, match="delete it if it is not needed"):
            await move(queue, one, other)
        assert await other.queue(queue) == before
        left = await one.queue(queue)
        assert (left.ready_lines, left.leased_lines) == (2, 0)


@pytest.mark.parametrize("kind", ["push", "close", "delete"])
async def test_a_source_that_is_used_meanwhile_is_not_deleted(
    shards: tuple[str, str], kind: str
) -> None:
    source, target = shards
    queue = f"used-{kind}"

    class Used(Client):
        async def extend(self, name: str, *_: object, **__: object) -> None:  # type: ignore[override]
            async with Client(source) as somebody:
                if kind == "push":
                    await somebody.push(name, b"2\n")
                elif kind == "close":
                    await somebody.close(name)
                else:
                    await somebody.delete(name)
                    await somebody.push(name, b"2\n")

    async with Used(source) as one, Client(target) as other:
        await one.push(queue, b"1\n")
        with pytest.raises((MoveError, ClientError), match=r"somebody else|is over"):
            await move(queue, one, other)
        left = await one.queue(queue)
        assert left.ready_lines == (2 if kind == "push" else 1)


@pytest.mark.parametrize("closed", [False, True])
async def test_two_moves_at_once_do_no_harm(shards: tuple[str, str], closed: bool) -> None:
    source, target = shards
    queue, account = f"two-{closed}", Account()
    await written(source, queue, closed=closed, account=account)
    async with (
        Client(source) as one,
        Client(target) as other,
        Client(source) as again,
        Client(target) as there,
    ):
        await asyncio.gather(
            move(queue, one, other), move(queue, again, there), return_exceptions=True
        )
        await move(queue, one, other)
    await gone(source, queue)
    await arrived(target, queue, account, closed=closed)


def test_wrong_usage(shards: tuple[str, str]) -> None:
    source, _ = shards
    for arguments, why in (
        (("q", source, source), "the same shard"),
        (("q", source, "nowhere"), "not a server's URL"),
        (("q q", source, source), "not a queue's name"),
    ):
        done = batchq("haproxy", "move", *arguments)
        assert done.returncode == 2
        assert why in done.stderr.decode()
