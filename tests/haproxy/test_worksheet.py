"""The pages of figures are what the harness writes from the run that is kept."""

from __future__ import annotations

import pytest

from benchmarks import figures, shards_worksheet
from benchmarks.report import markdown


def test_the_worksheet_is_that_of_the_run() -> None:
    run = figures.load(shards_worksheet.INPUT)
    page = shards_worksheet.page(run)
    assert shards_worksheet.OUTPUT.read_text() == page
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[-1] for row in rows] == ["measured |"] * 4 + ["*extrapolated* |"] * 5
    assert rows[-1].startswith("| 100 |")
    # What one HAProxy can't do is marked, and nothing else is.
    cores = [row.split(" | ")[4] for row in rows[4:]]
    assert [one for one in cores if "!" in one] == [
        one for one in cores if int(one.split()[0]) > 64
    ]
    assert "is not shown by this run" in page
    assert not run.missing
    assert "1 shard through HAProxy" in markdown(run, [])


def test_a_run_without_the_figures_makes_no_worksheet() -> None:
    run = figures.load(shards_worksheet.INPUT)
    run.series = run.series[:1]
    with pytest.raises(ValueError, match="the run has no"):
        shards_worksheet.page(run)
