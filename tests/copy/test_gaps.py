"""Lines that are out to another reader, or gone, while one reads that needs them all."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import Popen
from uuid import uuid4

import httpx
import pytest
from support.copies import batchq, said, start
from support.servers import ServerProcess, serving

from batchq.model import QueueStats
from batchq.stores.memory import MemoryStore
from batchq_client import Client, Pulled
from batchq_client.copy import (
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
)
from batchq_client.copy.commits import Mark
from batchq_client.copy.digest import PayloadDigest
from batchq_client.copy.part import open_part

LINES = [b"%06d of many\n" % number for number in range(20_000)]
LONG = 3600.0
"""Seconds of a lease that outlasts every reader's patience."""

SMALL = ("--batch-bytes", "4KiB", "--lease", "0.5", "--wait", "0.2", "--retries", "1")


class Queue:
    """A queue by its URL, as another reader sees it."""

    def __init__(self, base: str) -> None:
        self.base, self.name = base, uuid4().hex
        self.url = f"{base}/{self.name}"

    def push(self, lines: list[bytes]) -> None:
        assert httpx.post(f"{self.base}/push/{self.name}", content=b"".join(lines)).is_success

    def close(self) -> None:
        assert httpx.post(f"{self.base}/close/{self.name}").is_success

    def take(self, lines: int, lease: float | None = LONG) -> str:
        """Takes the next lines; gives their lease."""
        asked = {"max": lines, **({} if lease is None else {"lease": lease})}
        answer = httpx.post(f"{self.base}/pull/{self.name}", params=asked)
        assert answer.headers["batch-lines"] == str(lines)
        return str(answer.headers.get("batch-lease"))

    def end(self, verb: str, *leases: str) -> None:
        answer = httpx.post(f"{self.base}/{verb}/{self.name}", params={"lease": list(leases)})
        assert answer.is_success

    def stats(self) -> tuple[int, int]:
        """Lines that are not done with, and leases."""
        told = httpx.get(f"{self.base}/queues/{self.name}").json()
        return told["ready_lines"] + told["leased_lines"], told["leases"]


@pytest.fixture
def queue(server: ServerProcess) -> Queue:
    return Queue(server.url)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "d"


def waiting(*arguments: object) -> Popen[bytes]:
    """Starts a copy, and returns once it has said that it waits for another reader."""
    process = start("copy", "--quiet", *arguments)
    assert process.stderr is not None
    told = process.stderr.readline()
    if b"out to another reader" not in told:
        process.kill()
        process.communicate()
        pytest.fail(f"it did not wait, and said {told!r}")
    return process


def end_of(process: Popen[bytes]) -> tuple[int, bytes]:
    """How a copy ends: its exit code, and what it said since."""
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def part(target: Path) -> bytes:
    return target.with_name(target.name + ".part").read_bytes()


def test_lines_that_a_killed_reader_had_are_waited_for(queue: Queue, target: Path) -> None:
    queue.push(LINES)
    queue.close()
    lease = queue.take(818)
    reader = waiting(*SMALL, queue.url, target)
    assert queue.stats()[0] == len(LINES), "nothing is acknowledged"
    assert part(target) == b""
    queue.end("release", lease)
    assert end_of(reader) == (0, b"")
    assert target.read_bytes() == b"".join(LINES)


def test_lines_out_on_two_leases_that_come_back_in_the_other_order(
    queue: Queue, target: Path
) -> None:
    queue.push(LINES)
    queue.close()
    leases = [queue.take(100), queue.take(100)]
    reader = waiting(*SMALL, queue.url, target)
    for lease in reversed(leases):
        queue.end("release", lease)
    assert end_of(reader) == (0, b"")
    assert target.read_bytes() == b"".join(LINES)


def test_lines_that_came_before_come_back_ahead_of_those_that_are_missing(
    queue: Queue, target: Path
) -> None:
    """A reader was killed when its first lines were safe, before it could acknowledge them."""
    queue.push(LINES[:6])
    queue.close()
    leases = [queue.take(1) for _ in range(4)]
    safe = b"".join(LINES[:3])
    digest = PayloadDigest()
    digest.update(safe)
    left = open_part(target, queue.url, resume=False)
    os.write(left.fd, safe)
    told = httpx.get(f"{queue.base}/queues/{queue.name}").json()
    left.note(Mark(told["queue_id"], 3, len(safe)), digest.text(unterminated=False))
    left.journal.close()
    os.close(left.fd)
    one_line = ("--batch-bytes", str(len(LINES[0])), "--wait", "0.2", "--in-flight", "1")
    reader = waiting("--resume", *one_line, queue.url, target)
    queue.end("release", *leases)
    assert end_of(reader) == (0, b"")
    assert target.read_bytes() == b"".join(LINES[:6])


@pytest.mark.parametrize("first", [0, 1000])
def test_lines_that_are_gone_end_the_copy(queue: Queue, target: Path, first: int) -> None:
    queue.push(LINES)
    queue.close()
    begins = queue.take(first) if first else None
    lease = queue.take(818)
    if begins is not None:
        queue.end("release", begins)
    reader = waiting(*SMALL, queue.url, target)
    queue.end("ack", lease)
    code, err = end_of(reader)
    assert code == 5
    assert f"lines {first + 1} to {first + 818} of queue".encode() in err
    assert queue.stats() == (len(LINES) - 818 - first, 0), "nothing behind it is taken"
    if first:
        assert part(target) == b"".join(LINES[:first])
    done = batchq("copy", "--resume", *SMALL, queue.url, target)
    assert done.returncode == 5
    assert "went to another reader" in said(done), "the part file is still one to go on with"
    done = batchq("copy", "--shared", queue.url, target)
    assert done.returncode == 0
    assert target.read_bytes() == b"".join(LINES[first + 818 :])


def test_resumed_with_a_lease_shorter_than_that_of_the_reader_before(
    queue: Queue, target: Path
) -> None:
    queue.push(LINES[:100])
    assert batchq("copy", *SMALL, queue.url, target).returncode == 3
    queue.push(LINES[100:])
    queue.close()
    lease = queue.take(100)
    reader = waiting("--resume", *SMALL, queue.url, target)
    assert part(target) == b"".join(LINES[:100])
    queue.end("release", lease)
    assert end_of(reader) == (0, b"")
    assert target.read_bytes() == b"".join(LINES)


def test_the_last_lines_are_waited_for_however_long_they_are_out(
    queue: Queue, target: Path
) -> None:
    queue.push(LINES[:100])
    queue.close()
    taken = queue.take(90)
    lease = queue.take(10)
    queue.end("release", taken)
    reader = waiting(*SMALL, queue.url, target)
    queue.end("release", lease)
    assert end_of(reader) == (0, b"")
    assert target.read_bytes() == b"".join(LINES[:100])


def test_what_earlier_readers_had_is_not_missed_by_one_that_takes_what_there_is(
    queue: Queue, target: Path
) -> None:
    queue.push(LINES[:200])
    queue.take(100, lease=None)
    done = batchq("copy", "--until-idle", *SMALL, queue.url, target)
    assert done.returncode == 0, said(done)
    assert target.read_bytes() == b"".join(LINES[100:200])


def test_a_relay_that_was_killed_passes_on_what_is_left(
    queue: Queue, server: ServerProcess
) -> None:
    other = Queue(server.url)
    queue.push(LINES)
    queue.close()
    queue.end("ack", queue.take(100))
    lease = queue.take(50)
    relay = waiting(*SMALL, queue.url, other.url)
    queue.end("release", lease)
    code, err = end_of(relay)
    assert (code, b"100 of the queue's 20000 lines went to other readers" in err) == (5, True)
    answer = httpx.post(f"{other.base}/pull/{other.name}", params={"max_bytes": 10**6})
    assert answer.content == b"".join(LINES[100:])


def test_a_reader_of_a_shared_queue_waits_for_nobody_before_a_gap(
    queue: Queue, target: Path
) -> None:
    queue.push(LINES[:200])
    queue.close()
    lease = queue.take(100)
    reader = waiting("--shared", *SMALL, queue.url, target)
    queue.end("ack", lease)
    code, err = end_of(reader)
    assert code == 0, err
    assert target.read_bytes() == b"".join(LINES[100:200])


class Late(MemoryStore):
    """Of a queue whose lines are out it tells when another reader has just been done with them."""

    lease = ""

    async def stats(self, queue: str, queue_id: str | None) -> QueueStats:
        if self.lease:
            await self.ack(queue, [self.lease], queue_id)
            self.lease = ""
        return await super().stats(queue, queue_id)


async def test_the_end_may_come_between_a_pull_and_what_is_told_of_the_queue(target: Path) -> None:
    store, options = Late(), CopyOptions(wait=0.1, retries=1, shared=True)
    async with serving(store=store) as local, Client(local.url) as client:
        await client.push("q", b"a\nb\n")
        await client.close("q")
        taken = await client.pull("q", maximum=1, lease=LONG)
        assert isinstance(taken, Pulled)
        assert taken.lease is not None
        store.lease = taken.lease
        queue, summary = QueueAddress(local.url, "q"), Summary("", "")
        await read_queue(queue, PathAddress(target), options, Progress(), summary)
    assert (summary.lines, summary.bytes) == (1, 2)
