from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from batchq.stores.sqlite.store import Options
from benchmarks import process
from benchmarks.budget import Budget
from benchmarks.compare import Contender, side_by_side
from benchmarks.driver import Driver, DriverError
from benchmarks.figures import Run
from benchmarks.peers.ceilings import Append
from benchmarks.peers.http import Batchq, Floor
from benchmarks.peers.redis import RedisBlock, RedisLine
from benchmarks.suites.sqlite import IN_MEMORY


class Absent(Append):
    name = "absent"
    programs = {"no-such-program": "no-such-package"}  # noqa: RUF012


class Broken(Append):
    name = "broken"

    def command(self, port: int) -> Sequence[str]:
        del port
        return [sys.executable, "-c", "raise SystemExit('will not serve')"]


@pytest.fixture
def run() -> Run:
    return Run("quick", "2026-01-01T00:00:00+00:00", {})


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_contenders_run_in_turn_against_a_real_redis(run: Run, tmp_path: Path) -> None:
    measured = side_by_side(
        [RedisLine, RedisBlock, Append],
        run,
        tmp_path,
        budget=Budget(0),
        seconds=0.02,
        batch_bytes=65_536,
    )
    assert run.missing == []
    assert run.series == measured
    assert [(s.contender, s.figure) for s in measured] == [
        ("redis per line", "push"),
        ("redis per line", "pull"),
        ("redis per block", "push"),
        ("redis per block", "pull"),
        ("append", "push"),
    ]
    for series in measured:
        assert len(series.samples) == 2
        assert min(series.samples) > 0
        assert series.conditions["load"] == "short"
        assert series.client
    assert run.find("redis per block", "push", load="short") is measured[2]
    assert run.find("redis per block", "push", load="wide") is None


def test_what_is_not_installed_or_fails_is_named_and_left_out(run: Run, tmp_path: Path) -> None:
    measured = side_by_side(
        [Absent, Broken, Append],
        run,
        tmp_path,
        budget=Budget(0),
        seconds=0.01,
        batch_bytes=4096,
    )
    assert [series.contender for series in measured] == ["append"]
    absent, broken = run.missing
    assert absent == "absent: no-such-program not found: apt-get install no-such-package"
    assert broken.startswith("broken: ")
    assert "will not serve" in broken


def test_a_server_is_pinned_answers_and_is_gone_after_stop(tmp_path: Path) -> None:
    peer = RedisLine.at(tmp_path)
    port = peer.start()
    pid = peer.server_pid
    try:
        assert port > 0
        assert alive(pid)
        core = process.core(process.SERVER)
        if core is not None:
            assert os.sched_getaffinity(pid) == {core}
        now = process.memory_kib(pid, "VmRSS")
        assert process.memory_kib(pid, "VmHWM") >= now > 0  # the peak is read last: it may grow
    finally:
        peer.stop()
    assert not alive(pid)


def test_what_a_driver_raises_is_raised_here_and_it_goes_on(tmp_path: Path) -> None:
    target = f"{Floor.__module__}:{Floor.__qualname__}"
    driver = Driver(target, {"directory": str(tmp_path), "port": 1}, tmp_path / "log")
    try:
        for _ in range(2):
            with pytest.raises(DriverError, match="no_such_method"):
                driver.call("no_such_method")
    finally:
        driver.stop()
    assert not alive(driver.pid)


def test_a_driver_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    driver = Driver("threading:Event", {}, tmp_path / "log")
    try:
        with pytest.raises(process.ProcessError, match="no answer in 0 s"):
            driver.call("wait", timeout=0.2)
        with pytest.raises(process.ProcessError, match="ended"):
            driver.call("is_set", timeout=5)
    finally:
        driver.stop()


class Recording(Driver):
    """Moves a million lines a second, without a process, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def call(self, method: str, timeout: float = 0.0, **arguments: Any) -> Any:
        del timeout
        lines = int(arguments.get("lines") or self.told[-1][1])
        self.told.append((method, lines))
        return {"lines": lines, "bytes": 21 * lines, "seconds": lines / 1e6}


@pytest.mark.parametrize("most", [None, 1, 5, 9, 10, 11, 100])
def test_a_round_holds_no_more_lines_than_it_may(tmp_path: Path, most: int | None) -> None:
    driver = Recording()
    contender = Contender(Batchq.at(tmp_path), driver, lines=10)
    contender.round(most)
    pushed = [lines for method, lines in driver.told if method == "push"]
    assert [method for method, _ in driver.told] == ["push", "pull"] * len(pushed)
    assert 10 <= sum(pushed) < 10 + len(pushed)
    assert max(pushed) <= (most or 10)
    assert contender.rates == {
        "push": [pytest.approx(1e6)],
        "pull": [pytest.approx(1e6)],
    }


def test_lines_that_are_said_to_be_in_memory_fit_there() -> None:
    assert Options().memory > IN_MEMORY
