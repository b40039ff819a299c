"""The plots, as small SVG files: growth curves, and the peers side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks import stats
from benchmarks.figures import Growth, Run, Series, number

SIZE = (6.4, 3.6)
WIDE_RANGE = 50
"""Above this many times the smallest figure, the axis of figures is logarithmic."""
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


def _short(value: float, position: int = 0) -> str:
    """Label a tick: `2.5 M`, without zeros that say nothing."""
    del position
    text, _, suffix = number(value).partition(" ")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {suffix}".strip()


def _size(value: float) -> str:
    """Label a size in bytes: `64 KiB`."""
    for unit, name in ((2**20, " MiB"), (2**10, " KiB")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _bars(chosen: list[Series], name: str, path: Path) -> None:
    figure, axes = _new()
    values = [_error(series.samples) for series in chosen]
    bars = axes.barh(
        [series.contender for series in chosen],
        [value[0] for value in values],
        xerr=[[value[1] for value in values], [value[2] for value in values]],
        error_kw={"elinewidth": 1, "capsize": 2},
        color=["C1" if series.contender.startswith("batchq") else "C0" for series in chosen],
    )
    axes.bar_label(bars, [number(value[0]) for value in values], padding=5)
    axes.invert_yaxis()
    axes.set_xscale("log")
    low, high = min(value[0] for value in values), max(value[0] + value[2] for value in values)
    # The shortest is a bar as well, and the longest has room for its label.
    axes.set_xlim(10 ** math.floor(math.log10(low / 2)), high * (high / low) ** 0.15)
    axes.xaxis.set_major_formatter(_short)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("lines/s, logarithmic (median; whiskers from smallest to largest)")
    axes.set_title(f"Peers side by side: {name}, 20-byte lines")
    _save(figure, path)


def _curves(growth: Growth, path: Path) -> None:
    figure, axes = _new()
    # At even distances: the points grow by about the same factor, and one may be zero.
    places = sorted({x for curve in growth.curves for x, _ in curve.points})
    for curve in growth.curves:
        values = [_error(samples) for _, samples in curve.points]
        axes.errorbar(
            [places.index(x) for x, _ in curve.points],
            [value[0] for value in values],
            yerr=[[value[1] for value in values], [value[2] for value in values]],
            marker="o",
            markersize=4,
            capsize=2,
            label=curve.label,
        )
    label = _size if growth.x_label.endswith("bytes") else _short
    axes.set_xticks(range(len(places)), [label(x) for x in places])
    samples = [sample for curve in growth.curves for _, some in curve.points for sample in some]
    if max(samples) > WIDE_RANGE * min(samples):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0, top=max(samples) * 1.1)
    axes.yaxis.set_major_formatter(_short)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    conditions = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in growth.conditions.items())
    axes.set_xlabel(growth.x_label)
    axes.set_ylabel(growth.y_label)
    figure.suptitle(growth.title, fontsize=10)
    axes.set_title(f"{conditions}; client: {growth.client}", fontsize=8)
    axes.legend(frameon=False)
    _save(figure, path)
