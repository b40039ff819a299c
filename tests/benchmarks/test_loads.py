from __future__ import annotations

import pytest

from benchmarks.loads import LOADS, POOL_BYTES, pool


@pytest.mark.parametrize(("name", "size"), [("seq", 7), ("short", 20), ("wide", 1024)])
def test_lines_have_exactly_their_size(name: str, size: int) -> None:
    batch = LOADS[name].batch(5, 100)
    lines = batch.payload.split(b"\n")
    assert lines.pop() == b""
    assert [len(line) for line in lines] == [size] * 100
    assert batch.lines == 100


def test_log_lines_are_about_a_hundred_bytes() -> None:
    lines = LOADS["log"].batch(0, 5000).payload.splitlines()
    assert len(lines) == 5000
    assert 97 <= sum(map(len, lines)) / len(lines) <= 103


def test_seq_counts() -> None:
    assert LOADS["seq"].batch(9_999_998, 3).payload == b"9999998\n9999999\n0000000\n"


@pytest.mark.parametrize("name", LOADS)
def test_loads_are_deterministic_and_go_on(name: str) -> None:
    load = LOADS[name]
    assert load.batch(3, 50) == load.batch(3, 50)
    assert load.batch(3, 50) != load.batch(53, 50)


@pytest.mark.parametrize("name", LOADS)
def test_a_batch_is_the_most_lines_that_fit(name: str) -> None:
    load = LOADS[name]
    lines = load.lines_in(65_536)
    width = load.line_bytes + 1
    assert lines * width <= 65_536 < (lines + 1) * width
    assert load.lines_in(1) == 1


def test_a_pool_is_made_once_and_has_distinct_batches() -> None:
    batches = pool("short", 1024 * 1024)
    assert batches is pool("short", 1024 * 1024)
    assert len({batch.payload for batch in batches}) == len(batches)
    assert sum(len(batch.payload) for batch in batches) <= POOL_BYTES
    assert all(batch.payload.count(b"\n") == batch.lines for batch in batches)
