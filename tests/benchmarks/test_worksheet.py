from __future__ import annotations

import pytest

from benchmarks.figures import Run, Series
from benchmarks.suites.redis import FIGURES, MEMORY, SERVERS, SharedBatchq
from benchmarks.worksheet import page, speed


def run_of(rates: dict[str, float]) -> Run:
    run = Run("full", "2026-01-01T00:00:00+00:00", {"cpu": "a cpu", "cores": 2})
    conditions = {"load": "short", "batch_bytes": 1_048_576}
    for figure in FIGURES:
        for count in SERVERS:
            name = f"{SharedBatchq.name}, {count} server{'s' if count > 1 else ''}"
            run.series.append(
                Series(name, figure, "lines/s", [rates["batchq"]] * 3, conditions, "-")
            )
        run.series.append(
            Series("redis per block", figure, "lines/s", [rates["block"]] * 3, conditions, "-")
        )
    run.series.append(Series(f"{SharedBatchq.name}, 1 server", MEMORY, "x", [1.5], conditions, "-"))
    return run


def test_servers_add_up_until_redis_is_full() -> None:
    assert [speed(0.5, 0.2, servers) for servers in (1, 2, 3)] == [2, 4, 5]


def test_rows_that_were_not_measured_are_marked() -> None:
    rows = [
        line.split(" | ")
        for line in page(run_of({"batchq": 1e6, "block": 4e6})).splitlines()
        if line.endswith(("measured |", "extrapolated* |"))
    ]
    assert [row[-1] for row in rows] == ["measured |"] * 3 + ["*extrapolated* |"] * 5
    assert "GiB" in rows[7][2]
    # A quarter of a line's time is Redis's: a server of its own core does 4/3, and Redis 4 M.
    assert [row[2] for row in rows[3:7]] == ["1.33 M", "2.67 M", "4.00 M", "4.00 M"]


def test_a_run_without_the_rows_is_refused() -> None:
    run = run_of({"batchq": 1e6, "block": 4e6})
    run.series = [series for series in run.series if series.contender != "redis per block"]
    with pytest.raises(ValueError, match="redis per block"):
        page(run)
