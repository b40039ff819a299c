"""What a run leaves behind: series, targets and growth curves, and their JSON.

Nothing here measures; the report reads these and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import stats


@dataclass(slots=True)
class Series:
    """One contender's samples of one figure, a sample a round.

    Attributes:
        contender: Who.
        figure: What: `push`, `pull`, `copy`…
        unit: The samples' unit.
        samples: One value a round, in the rounds' order.
        conditions: Load, batch size, in flight, connections, store, fsync.
        client: What drove it.
        about: What it is, in a phrase.
        settings: The settings that it ran with.
    """

    contender: str
    figure: str
    unit: str
    samples: list[float]
    conditions: dict[str, Any]
    client: str
    about: str = ""
    settings: str = "-"


@dataclass(slots=True)
class Target:
    """One row of what is to be reached.

    Attributes:
        row: What is measured.
        unit: The unit of samples, gate and goal; `x` for a ratio.
        against: What a ratio's denominator is; empty for a size or time.
        gate: The least that is accepted.
        goal: What is aimed at.
        at_most: Whether smaller is better.
        samples: One value a round.
        absolute: The figures behind the samples, for the reader, as text.
        why_not: Why the row has no samples.
    """

    row: str
    unit: str
    against: str
    gate: float
    goal: float
    at_most: bool = False
    samples: list[float] = field(default_factory=list)
    absolute: str = ""
    why_not: str = ""

    def steady(self) -> bool:
        """Tell whether every round, and not only the median, reached what the verdict says."""
        verdict = self.verdict()
        return verdict not in ("goal", "gate") or not self.missed(verdict)

    def missed(self, verdict: str) -> int:
        """Count the rounds that fell short of the `goal` or the `gate`."""
        threshold = self.goal if verdict == "goal" else self.gate
        return sum(
            not stats.reaches(sample, threshold, at_most=self.at_most) for sample in self.samples
        )

    def verdict(self) -> str:
        """Say `goal`, `gate`, `below` or, without samples, `not measured`."""
        if not self.samples:
            return "not measured"
        median = stats.summarise(self.samples).median
        for name, threshold in (("goal", self.goal), ("gate", self.gate)):
            if stats.reaches(median, threshold, at_most=self.at_most):
                return name
        return "below"


@dataclass(slots=True)
class Curve:
    """One contender's figure against something that grows.

    Attributes:
        label: The legend's text.
        points: `(x, samples)` from small to large.
    """

    label: str
    points: list[tuple[float, list[float]]] = field(default_factory=list)


@dataclass(slots=True)
class Growth:
    """One plot: curves over the same axis.

    Attributes:
        name: The plot's file name, without ending.
        title: What it shows.
        x_label: The axis that grows, with its unit.
        y_label: The figure, with its unit.
        conditions: What the curves hold under.
        client: What drove them.
        curves: The curves.
        why_not: Why there are none.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    conditions: dict[str, Any]
    client: str
    curves: list[Curve] = field(default_factory=list)
    why_not: str = ""


@dataclass(slots=True)
class Cure:
    """What one cure gives: the same load with it and without it, in turn.

    Attributes:
        side: `server` or `client`.
        cure: What is cured.
        figure: What is measured.
        unit: The samples' unit.
        off: What "without" is: the setting, the seam or the stock stack.
        at_most: Whether smaller is better.
        on_samples: One value a round with the cure.
        off_samples: One value a round without it.
        why_not: Why the row has no samples.
    """

    side: str
    cure: str
    figure: str
    unit: str
    off: str
    at_most: bool = False
    on_samples: list[float] = field(default_factory=list)
    off_samples: list[float] = field(default_factory=list)
    why_not: str = ""


@dataclass(slots=True)
class Run:
    """All that one run measured.

    Attributes:
        mode: `quick` or `full`.
        started: When, in UTC, ISO 8601.
        machine: What `machine.describe` says.
        seconds: How long it took.
        missing: What was not found or failed, with what to do.
        series: Peers side by side.
        targets: What is to be reached.
        growth: Plots.
        cures: What each cure of the HTTP/2 side gives.
    """

    mode: str
    started: str
    machine: dict[str, Any]
    seconds: float = 0.0
    missing: list[str] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    cures: list[Cure] = field(default_factory=list)

    def find(self, contender: str, figure: str, **conditions: Any) -> Series | None:
        """Find the series of a contender whose conditions include these."""
        for series in self.series:
            if (series.contender, series.figure) == (contender, figure) and all(
                series.conditions.get(key) == value for key, value in conditions.items()
            ):
                return series
        return None


def save(run: Run, path: Path) -> None:
    """Write a run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(run), indent=1) + "\n")


def load(path: Path) -> Run:
    """Read a run back.

    Raises:
        ValueError: The file does not hold a run.
    """
    try:
        data = json.loads(path.read_text())
        data["series"] = [Series(**item) for item in data["series"]]
        data["targets"] = [Target(**item) for item in data["targets"]]
        data["growth"] = [_growth(item) for item in data["growth"]]
        data["cures"] = [Cure(**item) for item in data.get("cures", [])]
        return Run(**data)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold a run: {error}") from error


def _growth(item: dict[str, Any]) -> Growth:
    curves = [
        Curve(curve["label"], [(x, samples) for x, samples in curve["points"]])
        for curve in item.pop("curves")
    ]
    return Growth(**item, curves=curves)


def number(value: float) -> str:
    """Render a figure with three significant digits, thousands and millions short."""
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return _three(value / size) + suffix
    return _three(value)


def _three(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def spread(samples: Sequence[float]) -> str:
    """Render median and spread: `12.3 M (11.9 M to 12.8 M)`."""
    summary = stats.summarise(samples)
    return f"{number(summary.median)} ({number(summary.low)} to {number(summary.high)})"
