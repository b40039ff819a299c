from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import figures, report
from benchmarks.figures import Curve, Growth, Run, Series, Target, number, spread


@pytest.fixture
def run() -> Run:
    conditions = {"load": "short", "batch_bytes": 1048576, "in_flight": 4, "store": "-"}
    memory = conditions | {"store": "memory:"}
    copied = {"load": "short", "file_bytes": 12, "start_up": "1.0 s, taken off"}
    return Run(
        mode="quick",
        started="2026-01-01T00:00:00+00:00",
        machine={"cpu": "Abacus 9000", "cores": 2, "load_average": [1.5, 1, 0.5]},
        missing=["nats: nats-server not found: apt-get install nats-server"],
        series=[
            Series("batchq", "push", "lines/s", [2e7, 2.2e7, 1.8e7], memory, "ours", "", "own"),
            Series("redis per line", "push", "lines/s", [2e6, 2e6, 2e6], conditions, "redis-py"),
            Series("nats", "push", "lines/s", [1e4, 1e4, 1e4], conditions, "nats-py"),
            Series("batchq copy", "copy", "lines/s", [4, 6], copied, "two"),
        ],
        targets=[
            Target("push, memory store", "x", "redis per line", 9, 12, samples=[9, 10, 11]),
            Target("waiting pulls", "KiB", "", 40, 20, at_most=True, samples=[12.5]),
            Target("wake", "x", "a push", 3, 1.5, at_most=True, samples=[3.5]),
            Target("push, SQLite", "x", "append", 0.5, 0.8, why_not="asked for with --store"),
        ],
        growth=[
            Growth(
                "depth", "Cost against depth", "lines", "ns/line", {"load": "seq"}, "ours",
                [Curve("push", [(0, [40.0, 42.0]), (1000, [41.0, 43.0])])],
            ),
            Growth("queues", "Cost against queues", "queues", "ns/line", {}, "ours",
                   why_not="the server went away"),
        ],
    )  # fmt: skip


def test_verdicts_follow_gate_and_goal(run: Run) -> None:
    verdicts = [target.verdict() for target in run.targets]
    assert verdicts == ["gate", "goal", "below", "not measured"]


def test_a_verdict_that_not_every_round_reached_says_so(run: Run) -> None:
    run.targets[0].samples = [9, 12, 13]
    assert run.targets[0].verdict() == "goal"
    assert [target.steady() for target in run.targets] == [False, True, True, True]
    assert "| **goal**, not in every round |" in report.markdown(run, [])


def test_rounds_below_the_gate_are_counted(run: Run) -> None:
    run.targets[0].samples = [8, 12, 13, 8.5, 14]
    assert run.targets[0].verdict() == "goal"
    assert "| **goal**, 2 of 5 rounds below the gate |" in report.markdown(run, [])


def test_the_page_names_what_was_measured(run: Run) -> None:
    run.machine["source"] = "commit abc1234 with changes"
    assert ", of commit abc1234 with changes\n" in report.markdown(run, [])


def test_a_run_survives_its_json(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "results" / "quick.json"
    figures.save(run, path)
    assert figures.load(path) == run


def test_a_file_without_a_run_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"series": []}')
    with pytest.raises(ValueError, match="does not hold a run"):
        figures.load(path)


def test_the_page_has_every_figure_with_its_conditions(run: Run, tmp_path: Path) -> None:
    written = report.write(run, tmp_path)
    assert [path.name for path in written] == ["README.md", "peers-push.svg", "depth.svg"]
    page = written[0].read_text()
    assert "Conditions: load short, batch bytes 1,048,576, in flight 4.\n" in page
    assert "| batchq | 20.0 M (18.0 M to 22.0 M) | - | ours | store memory: | own |" in page
    assert "| redis per line | 2.00 M (2.00 M to 2.00 M) | - | redis-py | - | - |" in page
    assert "| batchq copy | 5.00 (4.00 to 6.00) lines/s | two | load short, file bytes 12," in page
    assert "load average (1, 5, 15 min): 1.5 1 0.5 at the start, unknown at the end" in page
    assert "Abacus 9000" in page
    assert "apt-get install nats-server" in page
    assert "the server went away" in page
    assert (
        "| push, memory store | redis per line | 10.0 (9.00 to 11.0) x | 9 x | 12 x | gate" in page
    )
    assert "at most 20 KiB | **goal** |" in page
    for text in ("![peers, push](peers-push.svg)", "![Cost against depth](depth.svg)"):
        assert text in page


def test_plots_are_small_svg_and_the_same_each_time(run: Run, tmp_path: Path) -> None:
    first = report.write(run, tmp_path / "a")[1:]
    second = report.write(run, tmp_path / "b")[1:]
    for one, other in zip(first, second, strict=True):
        assert "<svg" in one.read_text()
        assert one.stat().st_size < 60_000
        assert one.read_bytes() == other.read_bytes()


def test_a_bar_in_a_text_does_not_break_the_table(run: Run) -> None:
    run.targets[3].why_not = "a | b\nc"
    row = next(x for x in report.markdown(run, []).splitlines() if x.startswith("| push, SQLite"))
    assert row.endswith("| a \\| b c |")


def test_the_terminal_text_says_gate_and_goal(run: Run) -> None:
    lines = report.targets_text(run).splitlines()
    assert lines[0].startswith("gate         push, memory store / redis per line: 10.0")
    assert "[gate 9.00, goal 12.0]" in lines[0]
    assert lines[3].startswith("not measured push, SQLite / append: asked for with --store")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.512, "0.51"), (12.34, "12.3"), (999, "999"), (1234, "1.23 k"), (25e6, "25.0 M")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_spread_names_both_ends() -> None:
    assert spread([1.0, 3.0, 2.0]) == "2.00 (1.00 to 3.00)"


def test_a_page_links_to_the_guide_from_where_it_is(run: Run, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "deeper"):
        page = report.write(run, place)[0]
        found = re.search(r"\[How to measure\]\((.*?)\)", page.read_text())
        assert found is not None
        assert (place / found[1]).resolve() == report.HOW_TO
        assert report.HOW_TO.is_file()
