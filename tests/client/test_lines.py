"""The client's cutter: byte by byte, on shared cases, and on whatever Hypothesis finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.line_cases import LINE_CASES, LineCase

from batchq import lines as server_lines
from batchq_client import lines
from batchq_client.lines import Cut, LineCutter, LineTooLong

TEXTS = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\0", b"\xff", b"bcd"])).map(b"".join)


def cut(
    pieces: list[bytes], batch_bytes: int, flush_at: frozenset[int] = frozenset()
) -> list[bytes]:
    cutter = LineCutter(batch_bytes)
    cuts = []
    for index, piece in enumerate(pieces):
        cuts += cutter.feed(piece)
        if index in flush_at and (flushed := cutter.flush()):
            cuts.append(flushed)
    if rest := cutter.finish():
        cuts.append(rest)
    assert cutter.held == 0
    assert cutter.lines == sum(one.lines for one in cuts)
    for one in cuts:
        assert one.unterminated != one.data.endswith(b"\n")
        assert one.lines == one.data.count(b"\n") + one.unterminated
    return [one.data for one in cuts]


def check(data: bytes, batches: list[bytes], batch_bytes: int) -> None:
    assert b"".join(batches) == data
    for batch in batches[:-1]:
        assert batch.endswith(b"\n")
    for batch in batches:
        assert batch
        if len(batch) > batch_bytes:
            assert batch.find(b"\n") in (-1, len(batch) - 1), "more than one long line"


@pytest.mark.parametrize("case", LINE_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("batch_bytes", [1, 2, 3, 7, 4096, 2**20])
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_cases(case: LineCase, batch_bytes: int, step: int) -> None:
    pieces = [case.data[at : at + step] for at in range(0, len(case.data), step)]
    batches = cut(pieces, batch_bytes)
    check(case.data, batches, batch_bytes)
    assert sum(server_lines.batch_of(batch).lines for batch in batches) == case.lines


@pytest.mark.parametrize("case", LINE_CASES, ids=lambda case: case.name)
def test_the_server_counts_the_same(case: LineCase) -> None:
    batch = server_lines.batch_of(case.data)
    assert batch.lines == case.lines
    added = b"\n" if case.data and not case.data.endswith(b"\n") else b""
    assert batch.data == case.data + added


@given(st.lists(TEXTS), st.integers(1, 12), st.frozensets(st.integers(0, 20)))
def test_any_pieces(pieces: list[bytes], batch_bytes: int, flush_at: frozenset[int]) -> None:
    check(b"".join(pieces), cut(pieces, batch_bytes, flush_at), batch_bytes)


@given(TEXTS, st.integers(1, 12))
def test_cuts_do_not_depend_on_the_pieces(data: bytes, batch_bytes: int) -> None:
    assert cut([data], batch_bytes) == cut([data[i : i + 1] for i in range(len(data))], batch_bytes)


def test_a_batch_ends_at_the_last_line_end_that_fits() -> None:
    assert LineCutter(6).feed(b"aa\nbb\ncc\n") == [Cut(b"aa\nbb\n", 2)]


def test_a_full_batch_does_not_wait() -> None:
    assert LineCutter(3).feed(b"aa\n") == [Cut(b"aa\n", 1)]


def test_flush_keeps_the_open_line() -> None:
    cutter = LineCutter(100)
    assert cutter.feed(b"one\ntw") == []
    assert cutter.flush() == Cut(b"one\n", 1)
    assert cutter.held == 2
    assert cutter.flush() is None
    assert cutter.feed(b"o\n") == []
    assert cutter.finish() == Cut(b"two\n", 1)
    assert cutter.finish() is None


def test_flush_leaves_a_long_line_alone() -> None:
    cutter = LineCutter(4)
    assert cutter.feed(b"abcdefgh") == []
    assert cutter.flush() is None
    assert cutter.feed(b"i\nj\n") == [Cut(b"abcdefghi\n", 1)]
    assert cutter.finish() == Cut(b"j\n", 1)


@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_line_of_the_limit_fits_and_one_more_does_not(step: int) -> None:
    def feed(data: bytes) -> list[bytes]:
        cutter = LineCutter(4, 10)
        cuts = []
        for at in range(0, len(data), step):
            cuts += cutter.feed(data[at : at + step])
        if rest := cutter.finish():
            cuts.append(rest)
        return [one.data for one in cuts]

    assert b"".join(feed(b"a\n" + b"x" * 9 + b"\nb")) == b"a\n" + b"x" * 9 + b"\nb"
    with pytest.raises(LineTooLong) as caught:
        feed(b"a\n" + b"x" * 10 + b"\nb")
    assert caught.value.line == 2
    assert feed(b"x" * 10)[-1] == b"x" * 10, "without a newline it fits"
    with pytest.raises(LineTooLong):
        feed(b"x" * 11)


def test_a_long_line_in_small_pieces_is_joined_once() -> None:
    cutter = LineCutter(1000)
    for _ in range(10_000):
        assert cutter.feed(b"x" * 1000) == []
    assert cutter.feed(b"\n") == [Cut(b"x" * 10_000_000 + b"\n", 1)]


@given(st.lists(TEXTS), st.integers(1, 12), st.integers(0, 20))
def test_lines_are_counted_the_same_once_there_were_many(
    pieces: list[bytes], batch_bytes: int, much: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_MUCH", much)
        counted = cut(pieces, batch_bytes)
    assert counted == cut(pieces, batch_bytes)
