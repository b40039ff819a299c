"""Lines whose reader left while they were made gone: back in the file, whatever comes then."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from sqlite.sqlite_support import crashed, opened, pull, pull_all, push, tidied
from support.cancelling import interrupted
from support.clients import client_of
from support.servers import serving
from support.waiting import until

from batchq.broker import Broker, Consume, Held, PutBack, Ticket, leases
from batchq.errors import DiskFull, StoreUnavailable
from batchq.lines import batch_of
from batchq.model import CloseRequest, End, Limits, Pulled, PullRequest, PushRequest
from batchq.stores.sqlite import SqliteStore
from batchq.stores.sqlite.maintenance import check
from batchq.stores.sqlite.transaction import Transaction

_SECONDS = 30


class _Stalled:
    """The writer, held up in the transactions that it writes.

    Attributes:
        reached: it is there: what it commits is written, and not yet committed.
        go_on: lets it, now and later.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    async def until_reached(self) -> None:
        reached = await asyncio.to_thread(self.reached.wait, _SECONDS)
        assert reached


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Stalled]:
    """Transactions that consume something wait before they are committed."""
    stalled, finish = _Stalled(), Transaction.finish
    consume_all = Transaction._consume_all
    consuming = False

    def noted(self: Transaction, change: Consume) -> None:
        nonlocal consuming
        consuming = True
        consume_all(self, change)

    def late(self: Transaction) -> None:
        nonlocal consuming
        finish(self)
        if consuming:
            stalled.reached.set()
            assert stalled.go_on.wait(_SECONDS)
        consuming = False

    monkeypatch.setattr(Transaction, "_consume_all", noted)
    monkeypatch.setattr(Transaction, "finish", late)
    yield stalled
    stalled.go_on.set()


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> list[PutBack]:
    """What was put back by a transaction."""
    seen: list[PutBack] = []
    original = Transaction._put_back

    def noted(self: Transaction, change: PutBack) -> None:
        seen.append(change)
        original(self, change)

    monkeypatch.setattr(Transaction, "_put_back", noted)
    return seen


def _sound(path: Path) -> bool:
    return list(check(str(path))) == []


async def _cancelled(store: SqliteStore, stalled: _Stalled, **how: Any) -> None:
    """A pull that is cancelled while its lines are written as gone."""
    pulling = asyncio.create_task(pull(store, **how))
    await stalled.until_reached()
    pulling.cancel()
    await asyncio.sleep(0)
    stalled.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await pulling


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_it_lasts(path: Path, stalled: _Stalled, put_back: list[PutBack], how: str) -> None:
    body = b"a\n" + b"b" * 300_000 + b"\n" + b"c\n"
    async with opened(path) as store:
        await push(store, body)
        await store.close(CloseRequest("q"))
        await _cancelled(store, stalled)
        assert len(put_back) == 1
        if how == "killed":
            path = crashed(path, path.with_name("copy.db"))
    assert _sound(path)
    async with opened(path) as store:
        assert not (await store.stats("q", None)).drained
        first = await pull(store, max=1)
        assert (first.offset, first.position, first.deliveries) == (0, 0, 1)
        assert first.data + (await pull(store)).data == body
        assert isinstance(await store.pull(PullRequest("q")), End)


async def test_killed_between_the_two_commits(path: Path) -> None:
    """What is promised without a lease: those lines are gone, as if their reader had them."""
    async with opened(path) as store:
        await push(store, b"a\nb\nc\n")
        copies: list[Path] = []

        async def consumed() -> None:
            await pull(store, max=2)

        original = store._applied

        def applied(change: object) -> None:
            if isinstance(change, Consume) and not copies:
                copies.append(crashed(path, path.with_name("copy.db")))
            original(change)  # type: ignore[arg-type]

        store._applied = applied  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await interrupted(consumed())
        assert await pull_all(store) == b"a\nb\nc\n"
    assert _sound(copies[0])
    async with opened(copies[0]) as store:
        rest = await pull(store)
        assert (rest.offset, rest.data) == (2, b"c\n")


async def test_a_closed_queue_is_kept_from_when_it_was_emptied_in_the_end(path: Path) -> None:
    now, limits = 1000.0, Limits(keep_closed=50.0)
    async with opened(path, limits, wall=lambda: now) as store:
        await push(store, b"a\n")
        await store.close(CloseRequest("q"))
        with pytest.raises(asyncio.CancelledError):
            await interrupted(pull(store))
        now = 2000.0
        await pull(store)
    async with opened(path, limits, wall=lambda: now + 40.0) as store:
        store._tick()
        await tidied(store)
        assert (await store.stats("q", None)).drained


async def test_nothing_of_a_deleted_queue_comes_back(path: Path, stalled: _Stalled) -> None:
    async with opened(path) as store:
        for line in (b"a\n", b"b\n", b"c\n"):
            await push(store, line)
        await pull(store, max=1, lease=60.0)
        pulling = asyncio.create_task(pull(store, max=1))
        await stalled.until_reached()
        deleting = asyncio.create_task(store.delete("q", None))
        await asyncio.sleep(0)
        pulling.cancel()
        stalled.go_on.set()
        _until_over(path)
        await deleting
        with pytest.raises(asyncio.CancelledError):
            await pulling
        assert await store.queues() == []
        await tidied(store)
    connection = apsw.Connection(str(path))
    for table in ("block", "extent", "done", "garbage"):
        assert connection.execute(f"SELECT count(*) FROM {table}").get == 0
    connection.close()


def _until_over(path: Path) -> None:
    """Waits until the end of the queue is committed, while the event loop stands still."""
    connection = apsw.Connection(str(path))
    deadline = time.monotonic() + _SECONDS
    while not connection.execute("SELECT over FROM life").get:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    connection.close()


def test_lines_that_find_no_room_leave_the_room_to_others() -> None:
    broker, tickets = Broker(Limits(), lambda: "id"), [Ticket() for _ in range(6)]
    full = DiskFull("no room")

    def commit() -> None:
        for change in broker.take_changes():
            broker.applied(0.0, change)

    broker.submit(0.0, tickets[0], PushRequest("q", batch_of(b"a\nb\n")))
    commit()
    for ticket in tickets[1:3]:
        broker.pull(0.0, ticket, PullRequest("q", max=1))
    first, second = [held for _, held in broker.take_answers() if isinstance(held, Held)]
    broker.finish(tickets[3], first)
    commit()
    broker.recall(tickets[4], first)
    broker.finish(tickets[5], second)
    back, consume = broker.take_changes()
    assert isinstance(back, PutBack)
    assert broker.abort(0.0, full, everything=True) == [consume]
    assert (tickets[4], full) in broker.take_answers()
    assert broker.stats("q", None).ready_lines == 0
    assert broker.abort(0.0, full, everything=True) == []
    assert (tickets[5], full) in broker.take_answers()
    broker.tick(leases.RESTORE_AGAIN)
    commit()
    assert broker.stats("q", None).ready_lines == 2


async def test_one_that_leaves_before_its_lines_are_written_costs_nothing(
    path: Path, put_back: list[PutBack]
) -> None:
    async with opened(path) as store:
        await push(store, b"a\nb\n")
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        try:
            pulling = asyncio.create_task(pull(store))
            await asyncio.sleep(0)
            pulling.cancel()
            await asyncio.sleep(0)
            assert not pulling.done()
        finally:
            other.execute("ROLLBACK")
            other.close()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        assert (await pull(store)).data == b"a\nb\n"
        assert put_back == []


async def test_the_end_of_the_store_waits_for_it(
    path: Path, stalled: _Stalled, put_back: list[PutBack]
) -> None:
    store = SqliteStore(path)
    await store.start()
    await push(store, b"a\n")
    pulling = asyncio.create_task(pull(store))
    await stalled.until_reached()
    pulling.cancel()
    stopping = asyncio.create_task(store.stop())
    await asyncio.sleep(0)
    stalled.go_on.set()
    await asyncio.wait([pulling, stopping])
    assert pulling.cancelled()
    assert stopping.exception() is None
    assert len(put_back) == 1
    async with opened(path) as store:
        assert await pull_all(store) == b"a\n"


async def test_no_room_on_the_disk(
    path: Path, stalled: _Stalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again; meanwhile the lines are out, and nobody is told the end."""
    tried, original, full = 0, Transaction._put_back, True

    def no_room(self: Transaction, change: PutBack) -> None:
        nonlocal tried
        tried += 1
        if full:
            raise apsw.FullError("no room")
        original(self, change)

    monkeypatch.setattr(Transaction, "_put_back", no_room)
    monkeypatch.setattr(leases, "RESTORE_AGAIN", 0.01)
    async with opened(path) as store:
        await push(store, b"a\nb\n")
        await store.close(CloseRequest("q"))
        await _cancelled(store, stalled, max=1)
        stats = await store.stats("q", None)
        assert (stats.ready_lines, stats.stored_bytes, stats.drained) == (1, 4, False)
        # Others go on meanwhile.
        assert (await pull(store)).offset == 1
        waiting = asyncio.create_task(pull(store, wait=60.0))
        full = False
        answer = await waiting
        assert (answer.offset, answer.data, answer.deliveries) == (0, b"a\n", 1)
        assert tried > 1
        assert isinstance(await store.pull(PullRequest("q")), End)


async def test_a_store_that_fails_then_tells_so(
    path: Path, stalled: _Stalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Transaction, change: PutBack) -> None:
        raise apsw.IOError("broken")

    monkeypatch.setattr(Transaction, "_put_back", broken)
    async with opened(path) as store:
        await push(store, b"a\n")
        await _cancelled(store, stalled)
        assert store.failure() is not None
        with pytest.raises(StoreUnavailable):
            await pull(store)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_else_is_consumed_around_it(path: Path, seed: int) -> None:
    """Blocks of many lines, pulled in parts: some go with a part, some stay for others."""
    chance = random.Random(seed)
    lines = [b"%d %s\n" % (n, b"x" * chance.choice((1, 50, 40_000))) for n in range(80)]
    got: list[bytes] = []
    async with opened(path) as store:
        at = 0
        while at < len(lines):
            size = chance.randrange(1, 30)
            await push(store, b"".join(lines[at : at + size]))
            at += size
        while len(got) < len(lines):
            pulls = [
                _taken(store, chance.randrange(1, 12), leaves=chance.random() < 0.6)
                for _ in range(chance.randrange(1, 4))
            ]
            for answer in await asyncio.gather(*pulls):
                if answer is not None:
                    assert answer.deliveries == 1
                    got += answer.data.splitlines(keepends=True)
            stats = await store.stats("q", None)
            assert stats.ready_lines == len(lines) - len(got)
            assert _sound(path)
        await tidied(store)
    assert sorted(got) == sorted(lines)
    assert _sound(path)


async def _taken(store: SqliteStore, lines: int, *, leaves: bool) -> Pulled | None:
    if not leaves:
        answer = await store.pull(PullRequest("q", max=lines, wait=0.0))
        return answer if isinstance(answer, Pulled) else None
    with contextlib.suppress(asyncio.CancelledError):
        await interrupted(store.pull(PullRequest("q", max=lines, wait=0.0)))
    return None


@pytest.mark.parametrize("version", ["http1", "http2"])
async def test_a_client_that_leaves_during_the_commit(
    path: Path, stalled: _Stalled, put_back: list[PutBack], version: str
) -> None:
    second = version == "http2"
    store = SqliteStore(path)
    async with serving(store=store) as served, client_of(served.url) as aside:
        await aside.post("/push/q", content=b"a\nb\n")
        await aside.post("/close/q")
        async with httpx.AsyncClient(base_url=served.url, http1=not second, http2=second) as http:
            pulling = asyncio.create_task(http.post("/pull/q?wait=0"))
            await stalled.until_reached()
            pulling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pulling
        waiting = asyncio.create_task(aside.post("/pull/q?wait=30"))
        await until(store, "q", lambda _: _is_recalled(store))
        await until(store, "q", lambda stats: stats.waiting_pulls == 1)
        stalled.go_on.set()
        answer = await waiting
        assert (answer.status_code, answer.content) == (200, b"a\nb\n")
        assert answer.headers["batch-offset"] == "0"
        assert answer.headers["batch-deliveries"] == "1"
        assert len(put_back) == 1
        end = await aside.post("/pull/q")
        assert end.headers["queue-closed"] == "true"


def _is_recalled(store: SqliteStore) -> bool:
    """The server has been told that the client of what is being committed has gone."""
    return any(
        isinstance(change, Consume) and change.put_back is not None
        for change in store._broker._hub.outstanding
    )
