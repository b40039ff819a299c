"""The server is down for a whole minute while copies run: they end identical all the same."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from faults import peers
from faults.peers import Reader, Writer, patient_client
from support.accounting import Account, Delivery
from support.copies import start
from support.proxy import Proxy, address_of
from support.servers import ServerProcess
from support.stream import assert_identical, digest_of

OUTAGE = 60.0
"""Seconds: as long as it is promised, not a stand-in for it."""

_BATCH = 500
_LINES = [b"%07d of a file that is copied\n" % number for number in range(400_000)]


def _stats(url: str, what: str) -> int:
    """How many lines the copies' queue has had, or how many are gone again."""
    answer = httpx.get(f"{url}/queues/q")
    stats = answer.json() if answer.is_success else dict.fromkeys(("lines", "ready_lines"), 0)
    gone = stats["lines"] - stats["ready_lines"] - stats.get("leased_lines", 0)
    return int(stats["lines"] if what == "lines" else gone)


def _account_of_files(source: bytes, target: bytes) -> None:
    """Casts the account of a copy: what was answered to its writer, and what its reader wrote."""
    account = Account()
    for seq, at in enumerate(range(0, len(_LINES), _BATCH)):
        account.attempted("copy", seq, b"".join(_LINES[at : at + _BATCH]))
        account.acknowledged("copy", seq)
    account.delivered(Delivery(0, 0, target.count(b"\n"), target))
    account.ended(lines=len(_LINES), bytes=len(source), digest=digest_of([source]))
    report = account.report()
    report.assert_clean()
    assert report.lines == len(_LINES)


async def _peers(url: str, account: Account, wanted: Callable[[], bool]) -> int:
    """A careful writer and reader that go on until it is enough; gives how many batches."""
    seq = 0
    async with patient_client(url) as to_write, patient_client(url) as to_read:
        writer = Writer(to_write, account, "peers")
        reader = Reader(to_read, account, "peers", random.Random(1), lease=2.0)

        async def write() -> None:
            nonlocal seq
            while wanted():
                data = b"".join(b"%d of %d\n" % (line, seq) for line in range(100))
                assert (await writer.push(seq, data)).is_success
                seq += 1
                await asyncio.sleep(0.02)
            assert (await writer.close(seq)).is_success

        async with asyncio.TaskGroup() as group:
            group.create_task(reader.read_all())
            group.create_task(write())
    return seq


async def test_copies_outlive_a_server_that_is_down_for_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_PAUSE", 0.1)
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"".join(_LINES))
    store = ("--store", f"sqlite:{tmp_path / 'queues.sqlite'}")
    server = ServerProcess(*store).start()
    account, enough = Account(), False
    try:
        async with Proxy(address_of(server.url)) as proxy:
            # Patience and all else as it is without being asked for.
            sides = (source, f"{proxy.url}/q"), (f"{proxy.url}/q", target)
            both = [start("copy", "--batch-bytes", "8KiB", *side) for side in sides]
            careful = asyncio.create_task(_peers(proxy.url, account, lambda: not enough))
            # In the middle of it: a part of the lines has come, and a part of those has gone.
            while await asyncio.to_thread(_stats, server.url, "gone") < len(_LINES) // 4:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            assert any(sent.offset for sent in account.sent)
            proxy.refuse()
            await asyncio.to_thread(server.kill)
            down = time.monotonic()
            await asyncio.sleep(OUTAGE)
            assert [process.poll() for process in both] == [None, None]
            assert not careful.done()
            server = await asyncio.to_thread(ServerProcess(*store).start)
            assert await asyncio.to_thread(_stats, server.url, "lines") < len(_LINES)
            assert time.monotonic() - down >= OUTAGE
            proxy.target = address_of(server.url)
            proxy.accept()
            ends = [await asyncio.to_thread(process.communicate, None, 60) for process in both]
            enough = True
            batches = await asyncio.wait_for(careful, 30)
    finally:
        await asyncio.to_thread(server.stop)
    assert [process.returncode for process in both] == [0, 0], ends
    assert_identical(source, target)
    _account_of_files(source.read_bytes(), target.read_bytes())
    report = account.report()
    report.assert_clean()
    assert report.batches == batches > 1
