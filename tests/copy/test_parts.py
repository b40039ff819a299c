"""The engine's parts by themselves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from batchq_client import Client, Pulled
from batchq_client.copy import (
    CopyError,
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    write_queue,
)
from batchq_client.copy.digest import PayloadDigest
from batchq_client.copy.limits import LineLimit
from batchq_client.copy.longline import LongLine, find_long_line, measure_line
from batchq_client.copy.order import Reorder
from batchq_client.copy.source import open_source
from batchq_client.copy.writer import QueueWriter
from batchq_client.lines import Cut

# Order


def batch(offset: int, lines: int = 1) -> Pulled:
    return Pulled("life", offset, offset * 2, lines, b"x\n" * lines)


def test_order_in_order() -> None:
    order = Reorder()
    assert order.answered(0, batch(0, 2), {1}) == [batch(0, 2)]
    assert order.answered(1, batch(2), set()) == [batch(2)]
    assert (order.held, order.gaps, order.next_offset) == (0, 0, 3)


def test_order_overtaken() -> None:
    order = Reorder()
    assert order.answered(2, batch(2), {0, 1}) == []
    assert order.answered(1, batch(1), {0, 3}) == []
    assert order.held == 2
    assert order.answered(0, batch(0), {3}) == [batch(0), batch(1), batch(2)]
    assert order.gaps == 0


def test_a_gap_is_open_when_no_pull_can_fill_it() -> None:
    order = Reorder()
    assert order.answered(1, batch(5), {0}) == []
    # A pull that was sent later brings only later lines, and is not waited for.
    assert order.answered(2, batch(6), {0}) == []
    assert not order.stuck
    assert order.answered(0, None, {3}) == []
    assert (order.stuck, order.gap, order.gaps) == (True, range(5), 0)
    assert order.skip() == [batch(5), batch(6)]
    assert (order.stuck, order.gaps) == (False, 5)


def test_where_readers_share_a_gap_is_skipped_at_once() -> None:
    order = Reorder(shared=True)
    assert order.answered(1, batch(5), {0}) == []
    assert order.answered(0, None, {3}) == [batch(5)]
    assert (order.stuck, order.gaps) == (False, 5)


def test_lines_that_come_twice_are_given_once() -> None:
    order = Reorder()
    order.answered(0, batch(0), set())
    again = order.answered(1, batch(0), set())
    assert [(one.offset, one.lines, one.data) for one in again] == [(1, 0, b"")]
    longer = order.answered(2, batch(0, 3), set())
    assert longer == [batch(1, 2)]
    assert (order.gaps, order.next_offset, order.next_position) == (0, 3, 6)


def test_a_gap_may_be_filled_by_any_pull() -> None:
    order = Reorder()
    assert order.answered(1, batch(5), set()) == []
    assert order.answered(2, batch(4, 3), set()) == []
    assert order.held_bytes == 8
    due = order.answered(3, batch(0, 4), set())
    assert b"".join(one.data for one in due) == b"x\n" * 7
    assert (order.gaps, order.held, order.held_bytes) == (0, 0, 0)
    order.answered(4, batch(9), set())
    assert order.skip() == [batch(9)]
    assert order.gaps == 2


def test_lines_that_come_late() -> None:
    order = Reorder()
    order.answered(0, batch(5), set())
    order.skip()
    with pytest.raises(ValueError, match="line 2 came when later ones"):
        order.answered(1, batch(2, 2), set())
    shared = Reorder(shared=True)
    shared.answered(0, batch(5), set())
    late = shared.answered(1, batch(2, 4), set())
    assert [(one.offset, one.lines) for one in late] == [(2, 3), (6, 0)]
    assert late[0].data == b"x\n" * 3
    assert (shared.gaps, shared.late, shared.next_offset) == (2, 3, 6)


@given(st.permutations(range(8)))
def test_any_order_of_answers(answers: list[int]) -> None:
    order = Reorder()
    left = set(range(8))
    out: list[Pulled] = []
    for number in answers:
        left.discard(number)
        out += order.answered(number, batch(number), left)
    assert out == [batch(number) for number in range(8)]


# Long lines


@given(
    st.lists(st.integers(0, 30)),
    st.booleans(),
    st.integers(1, 25),
    st.integers(0, 5),
    st.integers(0, 1),
)
def test_long_lines_as_a_naive_search_finds_them(
    lengths: list[int], terminated: bool, limit: int, skipped: int, less: int
) -> None:
    lines = [b"x" * length for length in lengths]
    data = b"\n".join(lines) + (b"\n" if lines and terminated else b"")
    rest = data.split(b"\n")
    last = rest.pop()
    # The last line may have to leave room for the newline that it lacks.
    sizes = [len(line) + 1 for line in rest] + ([len(last) + less] if last else [])
    expected = next(
        (
            LongLine(number, size - (1 if number <= len(rest) else less))
            for number, size in enumerate(sizes, 1)
            if size > limit
        ),
        None,
    )
    fd = os.memfd_create("lines")
    try:
        os.write(fd, b"?" * skipped + data)
        assert find_long_line(fd, skipped, limit, limit - less) == expected
    finally:
        os.close(fd)


@pytest.mark.parametrize(("data", "length"), [(b"", 3), (b"ab\nc", 5), (b"\n", 3), (b"abc", 6)])
def test_measuring_a_line(data: bytes, length: int) -> None:
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    assert measure_line(read, 3) == length
    os.close(read)


async def test_a_file_with_a_long_line_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.write_bytes(b"a\nb\n" + b"x" * 200 + b"\n")
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(500)

    opened = await open_source(PathAddress(source))
    with pytest.raises(CopyError, match=r"line 3 has 200 bytes.* at most 100 .*--max-body"):
        await opened.check(LineLimit({"--max-body": 100}, 100))
    await opened.check(LineLimit({"--max-body": 201}, 201))
    await opened.check(None)
    opened.close()
    assert asked == []


# Digest


@given(st.lists(st.sampled_from([b"a\n", b"\n", b"b\nc\n", b"x" * 50 + b"\n"])), st.booleans())
def test_digest_with_and_without_the_last_newline(blocks: list[bytes], unterminated: bool) -> None:
    digest = PayloadDigest()
    for block in blocks:
        digest.update(block)
    exact = b"".join(blocks)[: -1 if unterminated else None]
    expected = f"xxh3-128:{xxhash.xxh3_128(exact).hexdigest()}"
    assert digest.text(unterminated=unterminated) == expected


# The writer against servers that fail


class FaultyServer:
    """Stores numbered batches as the protocol says, and fails as its script says."""

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.stored: list[bytes] = []
        self.closed: dict[str, object] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        verb = request.url.path.split("/")[1]
        fault = self.script.pop(0) if self.script and verb == "push" and request.content else ""
        seq = int(request.headers["producer-seq"])
        headers = {"queue-id": "life", "batch-offset": "0", "batch-position": "0"}
        if fault == "unsent":
            raise httpx.ConnectError("away")
        if fault == "gap":
            return self.problem("sequence-gap", 409, {"producer-expected-seq": str(seq)})
        if fault == "full":
            return self.problem("queue-full", 429, {"retry-after": "0"})
        if fault == "lost":
            return self.problem("sequence-gap", 409, {"producer-expected-seq": "0"})
        if fault == "gateway":
            return httpx.Response(502)
        if verb == "close":
            assert seq == len(self.stored)
            payload = b"".join(self.stored)
            totals = {"queue-lines": str(payload.count(b"\n")), "queue-bytes": str(len(payload))}
            self.closed = httpx.Response(200, content=request.content).json()
            return httpx.Response(200, headers={**headers, **totals})
        duplicate = seq < len(self.stored)
        if not duplicate:
            assert seq == len(self.stored)
            before = b"".join(self.stored)
            headers["batch-offset"] = str(before.count(b"\n"))
            headers["batch-position"] = str(len(before))
            headers["batch-lines"] = str(request.content.count(b"\n"))
            self.stored.append(request.content)
        if fault == "answer-lost":
            raise httpx.ReadError("cut")
        return httpx.Response(204 if duplicate else 200, headers=headers)

    @staticmethod
    def problem(code: str, status: int, headers: dict[str, str]) -> httpx.Response:
        kind = {"content-type": "application/problem+json"}
        return httpx.Response(status, json={"code": code}, headers={**kind, **headers})


async def write(server: FaultyServer) -> QueueWriter:
    http = httpx.AsyncClient(transport=httpx.MockTransport(server))
    writer = QueueWriter(Client("http://x", http=http), "q", CopyOptions(in_flight=1), Progress())
    try:
        await writer.open()
        for data in (b"a\n", b"b\n", b"c\n"):
            await writer.push(Cut(data, 1))
        await writer.close("xxh3-128:" + "0" * 32, unterminated=False)
    finally:
        await writer.abandon()
    return writer


@pytest.mark.parametrize("fault", ["unsent", "gap", "full", "gateway", "answer-lost"])
async def test_a_writer_gets_over_faults(fault: str) -> None:
    server = FaultyServer(fault, "", fault)
    writer = await write(server)
    assert server.stored == [b"", b"a\n", b"b\n", b"c\n"]
    assert server.closed is not None
    assert (server.closed["lines"], server.closed["bytes"]) == (3, 6)
    assert writer.alone
    assert not server.script


async def test_a_server_that_lost_what_it_had_stored() -> None:
    server = FaultyServer("", "lost")
    with pytest.raises(CopyError, match="lost batches"):
        await write(server)
    assert server.closed is None


async def test_a_failed_copy_leaves_no_tasks(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.write_bytes(b"a\n")
    with pytest.raises(CopyError, match="can't reach"):
        await write_queue(
            PathAddress(source),
            QueueAddress("http://127.0.0.1:1", "q"),
            CopyOptions(retry_for=0.1),
            Progress(),
            Summary("", ""),
        )
    assert asyncio.all_tasks() == {asyncio.current_task()}
