"""A server on a file, killed again and again while copies go into it and out of it."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.accounting import Account
from support.recording import Recording
from support.servers import ServerProcess
from support.stream import assert_identical

from batchq_client.copy import (
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
    write_queue,
)

KILLS = 50
LINES = 400_000
OPTIONS = CopyOptions(batch_bytes=4096, in_flight=4, lease=10.0, wait=1.0, retries=200)


class Killer:
    """Kills a server while a push to it is unanswered, and starts it again on its port.

    Args:
        store: its ``--store``.
        pushes: tells what is unanswered.
    """

    def __init__(self, store: str, pushes: Recording) -> None:
        self._flags = ("--store", store)
        self._pushes = pushes
        self.server = ServerProcess(*self._flags).start()
        self.port = str(urlsplit(self.server.url).port)

    async def kill(self, after: int) -> None:
        """Kills it once so many pushes more were answered."""
        pushes = self._pushes
        due = pushes.answered + after
        while pushes.answered < due or not pushes.unanswered:
            pushes.moved.clear()
            await pushes.moved.wait()
        self.server.send(signal.SIGKILL)
        await asyncio.to_thread(self.server.wait)
        self.server = ServerProcess(*self._flags, "--port", self.port)
        await asyncio.to_thread(self.server.start)


@pytest.mark.timeout(600)
async def test_copies_through_a_server_that_is_killed_fifty_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    chance = random.Random(11)
    source.write_bytes(
        b"".join(b"%06d %s\n" % (n, chance.randbytes(24).hex().encode()) for n in range(LINES))
        + b"the end"
    )
    account = Account()
    recording = Recording(account)
    monkeypatch.setattr("batchq_client.client.open_http", lambda **_: recording.http())
    killer = Killer(f"sqlite:{tmp_path / 'queues.sqlite'}", recording)
    queue = QueueAddress(killer.server.url, "q")
    read = Summary("", "")
    try:
        async with asyncio.TaskGroup() as both:
            writing = both.create_task(
                write_queue(PathAddress(source), queue, OPTIONS, Progress(), Summary("", ""))
            )
            both.create_task(read_queue(queue, PathAddress(target), OPTIONS, Progress(), read))
            for _ in range(KILLS):
                await killer.kill(after=chance.randrange(1, 40))
                assert not writing.done(), "too little is left for as many kills"
    finally:
        killer.server.stop()
    assert_identical(source, target)
    account.ended(
        lines=read.lines,
        bytes=source.stat().st_size + 1,
        digest=read.digest,
        unterminated=read.unterminated,
    )
    account.report().assert_clean()
    assert read.digest_compared
