"""JSON → Markdown: every figure of the pages comes from a run's file, none is typed by hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.figures import Cure, Run, Series, Target, number, spread
from benchmarks.stats import paired_ratios

MARKS = {"goal": "**goal**", "gate": "gate", "below": "below", "not measured": "not measured"}
SHOWN = (
    *("load", "batch_bytes", "lines_per_call", "in_flight", "connections", "store", "fsync"),
    *("file_bytes", "file_lines", "start_up"),
)

PREFACE = """Written by `python -m benchmarks report` from a run's JSON; not to be edited by hand.
Contenders ran in turn within the run (A B A B…). A figure is the median of its
rounds with the smallest and the largest; a ratio is formed round by round first.
What each row means, and how to measure yourself: [How to measure]({how_to})."""

LONGEST_UNIT = len("MB/s")

PLACE = "server on one core, load on another"
PLACES = {"sharding": "servers, HAProxy and load on any core"}

TITLES = {"cures": "# What each cure gives"}

CURES = """The same load with one cure and without it, in turn. Where a setting or a seam turns
the one cure off, all else is as it is served; else "without" is the stock stack. What each cure is,
and the test that fails without it: [Cures](../../reference/cures.md). Answers that are lost and
requests that fail are those of a client that did nothing wrong. The gain is the ratio of the two
figures, the better way round."""

HOW_TO = Path(__file__).parent.parent / "docs" / "how-to" / "measure.md"


LOAD = """- load average (1, 5, 15 min): {} at the start, {} at the end; the run alone keeps it
  at one to two, and what is above that are other programs, which make the figures noisy"""


def write(run: Run, directory: Path) -> list[Path]:
    """Write `README.md` and one SVG a plot; return what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = plots.write(run, directory)
    page = directory / "README.md"
    how_to = os.path.relpath(HOW_TO, directory)
    page.write_text(markdown(run, [path.name for path in written], how_to))
    return [page, *written]


def markdown(run: Run, images: list[str], how_to: str = str(HOW_TO)) -> str:
    """Render the page.

    Args:
        run: What was measured.
        images: The plots' file names.
        how_to: Where the page finds the guide to measuring.
    """
    parts = [TITLES.get(run.mode, "# Benchmarks"), PREFACE.format(how_to=how_to), _machine(run)]
    if run.targets:
        parts += ["## To reach", _targets(run.targets)]
    if run.cures:
        parts.append(CURES)
    for side in dict.fromkeys(cure.side for cure in run.cures):
        chosen_cures = [cure for cure in run.cures if cure.side == side]
        parts += [f"## The {side}'s", _cures(chosen_cures)]
    paired = [series for series in run.series if series.figure in ("push", "pull")]
    for load in dict.fromkeys(series.conditions.get("load", "-") for series in paired):
        chosen = [series for series in paired if series.conditions.get("load", "-") == load]
        parts += [f"## Side by side, load `{load}`", _pairs(chosen)]
    others = [series for series in run.series if series not in paired]
    for figure in dict.fromkeys(series.figure for series in others):
        title = figure[0].upper() + figure[1:]
        parts += [f"## {title}", _series([s for s in others if s.figure == figure])]
    if images:
        parts += ["## Plots", *(f"![{_alt(name, run)}]({name})" for name in images)]
    unmeasured = [f"- {plot.title}: {_cell(plot.why_not)}" for plot in run.growth if plot.why_not]
    missing = unmeasured + [f"- {_cell(text)}" for text in run.missing]
    if missing:
        parts += ["## Not found or failed", "\n".join(missing)]
    return "\n\n".join(parts) + "\n"


def _alt(image: str, run: Run) -> str:
    """Say what a plot shows, for those who do not see it."""
    name = image.removesuffix(".svg")
    return {plot.name: plot.title for plot in run.growth}.get(name, name.replace("-", ", "))


def _machine(run: Run) -> str:
    machine = run.machine
    versions = machine.get("packages", {})
    place = [machine.get(key) for key in ("cpu", "cores", "memory_gib", "kernel")]
    lines = [
        f"- run: {run.mode}, {run.started}, {run.seconds:.0f} s{_state(machine)}",
        "- machine: {}, {} cores, {} GiB, {}; {}".format(*place, PLACES.get(run.mode, PLACE)),
        LOAD.format(_loads(machine, "load_average"), _loads(machine, "load_average_end")),
        f"- Python {machine.get('python')}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "- " + "; ".join(str(text) for text in machine.get("programs", {}).values()),
    ]
    return "\n".join(lines)


def _state(machine: dict[str, Any]) -> str:
    """Name what of the source was measured, where that is known."""
    state = machine.get("source")
    return f", of {state}" if state else ""


def _loads(machine: dict[str, Any], key: str) -> str:
    return " ".join(f"{value:g}" for value in machine.get(key, ())) or "unknown"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Keep a text on one line and out of the table's way."""
    return " ".join(text.replace("|", "\\|").split())[:300]


def _bound(target: Target, value: float) -> str:
    unit = " x" if target.unit == "x" else f" {target.unit}"
    return f"{'at most ' if target.at_most else ''}{value:g}{unit}"


def _targets(targets: list[Target]) -> str:
    rows = []
    for target in targets:
        measured = f"{spread(target.samples)} {target.unit}" if target.samples else "-"
        rows.append(
            [
                target.row,
                target.against or "-",
                measured,
                _bound(target, target.gate),
                _bound(target, target.goal),
                MARKS[target.verdict()] + _rounds_short(target),
                target.absolute or target.why_not,
            ]
        )
    head = ["figure", "against", "measured", "gate", "goal", "reached", "absolute"]
    return _table(head, rows)


def _rounds_short(target: Target) -> str:
    """Say what single rounds fell short of, where the median did not."""
    if target.steady():
        return ""
    missed = target.missed("gate")
    if missed:
        return f", {missed} of {len(target.samples)} rounds below the gate"
    return ", not in every round"


def _cures(cures: list[Cure]) -> str:
    """Put with and without side by side, a row a figure."""
    rows = []
    for cure in cures:
        gain, on, off = "-", "-", "-"
        if cure.on_samples:
            on, off = (spread(samples) for samples in (cure.on_samples, cure.off_samples))
            pair = (cure.off_samples, cure.on_samples)
            if min(*cure.on_samples, *cure.off_samples) > 0:
                gain = f"{spread(paired_ratios(*(pair if cure.at_most else pair[::-1])))} x"
        counted = len(cure.unit) > LONGEST_UNIT  # a word, and the figure has it
        figure = cure.figure if counted else f"{cure.figure}, {cure.unit}"
        rows.append([cure.cure, figure, on, off, gain, cure.off if on != "-" else cure.why_not])
    return _table(["cure", "figure", "with", "without", "gain", "without is"], rows)


def _conditions(conditions: dict[str, Any], common: dict[str, Any] | None = None) -> str:
    """Name conditions, without those that a table's contenders have in common."""
    shown = [
        f"{key.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{key} {value}"
        for key in SHOWN
        if (value := conditions.get(key, "-")) not in ("-", (common or {}).get(key, "-"))
    ]
    return ", ".join(shown).replace("_", " ")


def _common(chosen: list[Series]) -> dict[str, Any]:
    """Find the conditions' values that most of these contenders have."""
    return {
        key: Counter(series.conditions.get(key, "-") for series in chosen).most_common(1)[0][0]
        for key in SHOWN
    }


def _pairs(chosen: list[Series]) -> str:
    """Put push and pull side by side, a row a contender."""
    common = _common(chosen)
    rows = []
    for name in dict.fromkeys(series.contender for series in chosen):
        own = {series.figure: series for series in chosen if series.contender == name}
        one = next(iter(own.values()))
        rates = [spread(own[key].samples) if key in own else "-" for key in ("push", "pull")]
        rows.append(
            [name, *rates, one.client, _conditions(one.conditions, common) or "-", one.settings]
        )
    head = ["contender", "push, lines/s", "pull, lines/s", "client", "else than that", "settings"]
    return f"Conditions: {_conditions(common)}.\n\n{_table(head, rows)}"


def _series(chosen: list[Series]) -> str:
    rows = [
        [
            series.contender,
            f"{spread(series.samples)} {series.unit}",
            series.client,
            _conditions(series.conditions),
        ]
        for series in chosen
    ]
    return _table(["contender", "measured", "client", "conditions"], rows)


def targets_text(run: Run) -> str:
    """Render the rows to reach as plain text for a terminal."""
    lines = []
    for target in run.targets:
        measured = f"{spread(target.samples)} {target.unit}" if target.samples else target.why_not
        against = f" / {target.against}" if target.against else ""
        lines.append(
            f"{target.verdict():12} {target.row}{against}: {measured[:200]} "
            f"[gate {number(target.gate)}, goal {number(target.goal)}] {target.absolute}"
        )
    return "\n".join(lines) + "\n"
