from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import figures, report
from benchmarks.budget import Budget
from benchmarks.context import Context
from benchmarks.cures import client_rows, server_rows
from benchmarks.cures.rows import Row
from benchmarks.figures import Cure, Run
from benchmarks.suites import cures

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "cures.md").read_text()


def rows() -> list[Row]:
    return [*server_rows.rows(), *client_rows.rows()]


def table(side: str) -> list[list[str]]:
    """The cells of the rows of one of the page's two tables of cures."""
    part = PAGE.partition(f"## {side.title()}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def takes_its_cure(file: str, name: str) -> bool:
    """Whether a test is run both ways, of which it is told by an argument."""
    for place in ("http2", "transport"):
        path = ROOT / "tests" / place / file
        text = path.read_text() if path.exists() else ""
        if found := re.search(
            rf"^(?:async )?def {name}\((.*?)\) ->", text, re.MULTILINE | re.DOTALL
        ):
            return bool(re.search(r"\b(cured|probed)\b", found[1]))
    return False


@pytest.mark.parametrize("side", ["server", "client"])
def test_the_page_and_the_rows_name_the_same_cures(side: str) -> None:
    told = {cells[5] for cells in table(side)} - {"-"}
    assert told == {row.cure.cure for row in rows() if row.cure.side == side}


@pytest.mark.parametrize("side", ["server", "client"])
def test_no_cure_borrows_the_figure_of_another(side: str) -> None:
    told = Counter(cells[5] for cells in table(side))
    assert {name for name, times in told.items() if times > 1 and name != "-"} == set()


@pytest.mark.parametrize("side", ["server", "client"])
def test_each_cure_has_a_test_that_is_run_without_it_too(side: str) -> None:
    for cells in table(side):
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", cells[3])
        assert any(takes_its_cure(file, name) for file, name in named), cells


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 50
    for file, name in named:
        found = [ROOT / "tests" / place / file for place in ("http2", "transport")]
        assert any(
            re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE)
            for path in found
            if path.exists()
        ), f"{file}::{name}"


@pytest.mark.parametrize("side", ["server", "client"])
def test_no_cure_on_the_page_is_without_a_check_that_fails_without_it(side: str) -> None:
    for cells in table(side):
        assert len(cells) == 6, cells
        assert cells[4] in ("stock", "off", "stock, off", "off, stock"), cells


@pytest.mark.parametrize(
    "wanted",
    [
        "data after an early answer",
        "window of dropped DATA given back",
        "turns whatever the priorities",
        "a budget for refusals",
        "GOAWAY stream by stream",
        "dead connections are passed over",
        "freed memory is kept",
    ],
)
def test_a_row_is_measured_with_the_cure_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    for side in (server_rows, client_rows):
        chosen = [row for row in side.rows() if row.cure.cure == wanted]
        monkeypatch.setattr(side, "rows", lambda chosen=chosen: iter(chosen))
    run = Run("cures", "2026-01-01T00:00:00+00:00", {})
    cures.run(Context(run, Budget(0), tmp_path, quick=True))
    assert run.missing == []
    (cure,) = run.cures
    assert len(cure.on_samples) == len(cure.off_samples) == 2
    if cure.at_most:
        assert max(cure.on_samples) < min(cure.off_samples)
    else:
        assert min(cure.on_samples + cure.off_samples) > 0


def test_what_fails_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    def broken(_bench: object, _cured: bool) -> float:
        raise RuntimeError("no such thing")

    def works(_bench: object, cured: bool) -> float:
        return float(cured)

    run = Run("cures", "2026-01-01T00:00:00+00:00", {})
    context = Context(run, Budget(10), tmp_path, quick=True)
    first, second = (Cure("server", name, "x", "s", "stock") for name in ("first", "second"))
    for row in (Row(first, broken, 2), Row(second, works, 2)):
        cures._measure(context, None, row)  # type: ignore[arg-type]
    assert (first.why_not, first.on_samples) == ("no such thing", [])
    assert (second.on_samples, second.off_samples) == ([1, 1], [0, 0])
    assert run.missing == ["first: no such thing"]


def test_the_page_shows_both_and_the_gain_the_better_way_round(tmp_path: Path) -> None:
    run = Run("cures", "2026-01-01T00:00:00+00:00", {"cores": 2})
    run.cures = [
        Cure("server", "windows", "upload", "MB/s", "small ones", False, [30, 40], [10, 10]),
        Cure("client", "one reader", "a request", "ms", "stock", True, [2, 2], [800, 900]),
        Cure("client", "no cap", "answers lost of 99", "answers", "stock", True, [0], [99]),
        Cure("client", "gone", "answers lost", "answers", "stock", True, why_not="no curl"),
    ]
    path = tmp_path / "cures.json"
    figures.save(run, path)
    (page,) = report.write(figures.load(path), tmp_path / "pages")
    text = page.read_text()
    assert text.startswith("# What each cure gives\n")
    assert (
        "| windows | upload, MB/s | 35.0 (30.0 to 40.0) | 10.0 (10.0 to 10.0) "
        "| 3.50 (3.00 to 4.00) x | small ones |" in text
    )
    assert "| 425 (400 to 450) x | stock |" in text
    assert "| no cap | answers lost of 99 | 0 (0 to 0) | 99.0 (99.0 to 99.0) | - | stock |" in text
    assert "| gone | answers lost | - | - | - | no curl |" in text
    assert "## To reach" not in text


def test_a_result_from_before_there_were_cures_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(
        '{"mode": "full", "started": "x", "machine": {}, "seconds": 1.0, "missing": [],'
        ' "series": [], "targets": [], "growth": []}'
    )
    assert figures.load(path).cures == []
