"""Peers side by side, and the rows that follow from them: push and pull."""

from __future__ import annotations

from benchmarks.compare import side_by_side
from benchmarks.context import Context
from benchmarks.figures import Target, spread
from benchmarks.peers import PEERS
from benchmarks.peers.http import Batchq
from benchmarks.stats import paired_ratios

OTHER_LOADS = ("seq", "log", "wide")
OTHER_LOADS_PEERS = ("batchq", "floor", "redis per line", "ceiling C")
GATES = {"push": (9, 12), "pull": (3, 5)}


def run(context: Context) -> None:
    """Measure all peers on `short`, some on the other loads, then form the rows."""
    with context.budget.share(context.pick(1, 0.55)):
        _compare(context, tuple(PEERS), "short")
    for at, load in enumerate(context.pick((), OTHER_LOADS)):
        with context.budget.share(1 / (len(OTHER_LOADS) - at)):
            _compare(context, OTHER_LOADS_PEERS, load)
    context.run.targets += [row(context, figure) for figure in GATES]


def _compare(context: Context, names: tuple[str, ...], load: str) -> None:
    side_by_side(
        [PEERS[name] for name in names],
        context.run,
        context.directory / load,
        budget=context.budget,
        seconds=context.seconds,
        load=load,
    )


def row(context: Context, figure: str) -> Target:
    """Form the row of `push` or `pull` from the side-by-side run."""
    gate, goal = GATES[figure]
    target = Target(f"{figure}, memory store", "x", "redis per line", gate, goal)
    ours = context.run.find(Batchq.name, figure, load="short")
    theirs = context.run.find("redis per line", figure, load="short")
    if ours is None or theirs is None or len(ours.samples) != len(theirs.samples):
        target.why_not = context.unable() or "a contender did not run to the end"
        return target
    target.samples = paired_ratios(ours.samples, theirs.samples)
    target.absolute = f"{spread(ours.samples)} against {spread(theirs.samples)} lines/s"
    return target
