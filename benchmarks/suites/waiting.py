"""Thousands of idle waiting pulls: what each costs, what they cost others, how fast one wakes."""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from benchmarks import process
from benchmarks.compare import Contender
from benchmarks.context import Context, Failure
from benchmarks.driver import Driver
from benchmarks.figures import Curve, Growth, Target, spread
from benchmarks.stats import paired_ratios

PULLS = 5_000
WAKES = 60
BESIDE_ROUNDS = 2
WARM_ROUNDS = 3


def run(context: Context) -> None:
    """Measure the rows of 5,000 waiting pulls and the curve of push speed beside them."""
    many = f"{PULLS:,}"
    rows = {
        "size": Target(f"{many} idle waiting pulls: memory of each", "KiB", "", 40, 20, True),
        "beside": Target(f"bulk push beside {many} waiting pulls", "x", "without them", 0.8, 0.95),
        "wake": Target(f"waking one of {many} waiting pulls", "x", "a push's trip", 3, 1.5, True),
    }
    curve = Growth(
        "waiting-pulls", "Push and pull beside waiting pulls", "waiting pulls", "lines/s",
        {"load": "short", "batch_bytes": 1024 * 1024, "in_flight": 4}, context.subject.client,
    )  # fmt: skip
    context.run.targets += rows.values()
    context.run.growth.append(curve)
    why_not = context.unable()
    if not why_not:
        try:
            with context.budget.share(0.6):
                for number in context.budget.rounds(2, 4):
                    _round(context, rows, number)
            _curve(context, curve)
        except Failure as error:
            why_not = str(error)
            context.note(f"waiting pulls: {why_not}")
    for target in rows.values():
        target.why_not = "" if target.samples else why_not
    curve.why_not = why_not


def _holder(stack: ExitStack, context: Context, port: int) -> Driver:
    log = context.directory / "holder.log"
    holder = Driver("benchmarks.holder:Holder", {"port": port}, log)
    stack.callback(holder.stop)
    return holder


def _hold(holder: Driver, count: int) -> None:
    held = holder.call("hold", count=count)
    if held != count:
        raise RuntimeError(f"only {held} of {count} pulls wait")


def _round(context: Context, rows: dict[str, Target], number: int) -> None:
    """Take one sample of each row on a fresh server, whose memory holds nothing else."""
    with ExitStack() as stack:
        peer = context.server(stack, f"waiting-{number}")
        holder = _holder(stack, context, peer.port)
        # A few requests first, so that what the server loads once is not counted.
        _hold(holder, 10)
        before = process.memory_kib(peer.server_pid, "VmRSS")
        _hold(holder, PULLS)
        size = process.memory_kib(peer.server_pid, "VmRSS") - before
        rows["size"].samples.append(size / (PULLS - 10))
        rows["size"].absolute = f"{size / 1024:.0f} MiB in all"
        seconds = holder.call("wake", times=WAKES)
        wake, push = statistics.median(seconds["wake"]), statistics.median(seconds["push"])
        rows["wake"].samples.append(wake / push)
        rows["wake"].absolute = f"{wake * 1e6:.0f} µs against {push * 1e6:.0f} µs (last round)"
        holder.call("drop")
        pusher = context.drive(stack, peer)
        pusher.calibrate(context.seconds)
        _warm(pusher, context.pick(1, WARM_ROUNDS))
        without, beside = [], []
        for _ in range(context.pick(1, BESIDE_ROUNDS)):
            without.append(_push_rate(pusher))
            _hold(holder, PULLS)
            beside.append(_push_rate(pusher))
            holder.call("drop")
        rows["beside"].samples += paired_ratios(beside, without)
        rows["beside"].absolute = f"{spread(beside)} against {spread(without)} lines/s (last round)"


def _warm(pusher: Contender, rounds: int) -> None:
    """Move what is not counted: a server that fills its memory for the first time is slower."""
    for _ in range(rounds):
        pusher.round()


def _push_rate(pusher: Contender) -> float:
    """Take the median of a few pushes, each pulled again: one alone is at the mercy of noise."""
    pusher.rates = {"push": [], "pull": []}
    for _ in range(3):
        pusher.round()
    return statistics.median(pusher.rates["push"])


def _curve(context: Context, growth: Growth) -> None:
    counts = context.pick((0, 1000), (0, 10, 100, 1000, 2500, PULLS))
    with ExitStack() as stack:
        peer = context.server(stack, "waiting-curve")
        holder = _holder(stack, context, peer.port)
        pusher = context.drive(stack, peer)
        pusher.calibrate(context.seconds)
        _warm(pusher, WARM_ROUNDS)
        curves = {figure: Curve(figure) for figure in ("push", "pull")}
        for at, count in enumerate(counts):
            if count:
                _hold(holder, count)
            pusher.rates = {"push": [], "pull": []}
            with context.budget.share(1 / (len(counts) - at)):
                for _ in context.budget.rounds(2, 4):
                    pusher.round()
            for figure, curve in curves.items():
                curve.points.append((count, pusher.rates[figure]))
        holder.call("drop")
    growth.curves += curves.values()
