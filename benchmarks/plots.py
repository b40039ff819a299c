"""The plots, as small SVG files: growth curves, and the peers side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks import stats
from benchmarks.figures import Growth, Run, Series

SIZE = (6.4, 3.6)
# Text stays text and ids stay the same from run to run: small files, small differences.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "batchq", "font.size": 9}


def write(run: Run, directory: Path) -> list[Path]:
    """Write one SVG for each plot that has something to show; return them."""
    mpl.use("svg")
    written = []
    with mpl.rc_context(STYLE):
        for figure in ("push", "pull"):
            chosen = [
                series
                for series in run.series
                if series.figure == figure
                and series.unit == "lines/s"
                and series.conditions.get("load") == "short"
            ]
            unique = {series.contender: series for series in reversed(chosen)}
            if unique:
                path = directory / f"peers-{figure}.svg"
                _bars(list(reversed(unique.values())), figure, path)
                written.append(path)
        for growth in run.growth:
            if growth.curves:
                path = directory / f"{growth.name}.svg"
                _curves(growth, path)
                written.append(path)
    return written


def _new() -> tuple[Any, Any]:
    # Imported late: pyplot chooses its backend when it is first imported.
    from matplotlib import pyplot as plt  # noqa: PLC0415

    return plt.subplots(figsize=SIZE, layout="constrained")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _error(samples: list[float]) -> tuple[float, float, float]:
    summary = stats.summarise(samples)
    return summary.median, summary.median - summary.low, summary.high - summary.median


def _bars(chosen: list[Series], name: str, path: Path) -> None:
    figure, axes = _new()
    values = [_error(series.samples) for series in chosen]
    axes.barh(
        [series.contender for series in chosen],
        [value[0] for value in values],
        xerr=[[value[1] for value in values], [value[2] for value in values]],
        color=["C1" if series.contender.startswith("batchq") else "C0" for series in chosen],
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"{name}, lines/s (median, smallest to largest)")
    axes.set_title(f"Peers side by side: {name}, 20-byte lines")
    _save(figure, path)


def _curves(growth: Growth, path: Path) -> None:
    figure, axes = _new()
    for curve in growth.curves:
        values = [_error(samples) for _, samples in curve.points]
        axes.errorbar(
            [x for x, _ in curve.points],
            [value[0] for value in values],
            yerr=[[value[1] for value in values], [value[2] for value in values]],
            marker="o",
            capsize=2,
            label=curve.label,
        )
    axes.set_xscale("symlog" if any(x == 0 for c in growth.curves for x, _ in c.points) else "log")
    if growth.y_label == "lines/s":
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    conditions = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in growth.conditions.items())
    axes.set_xlabel(growth.x_label)
    axes.set_ylabel(growth.y_label)
    axes.set_title(f"{growth.title}\n{conditions}; client: {growth.client}", fontsize=8)
    axes.legend()
    _save(figure, path)
