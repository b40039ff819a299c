"""Curves: batch size, requests in flight, number of queues, depth, connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import loads
from benchmarks.context import Context, Failure
from benchmarks.driver import Driver
from benchmarks.figures import Curve, Growth, Target, spread
from benchmarks.stats import paired_ratios

FIGURES = ("push", "pull")
FLAT = {"queues": "queues", "depth": "lines in the queue", "connections": "connections"}
"""The plots that ought to be flat, and what grows in them."""
FLAT_WITHIN = 1.1
QUEUE_BATCH_BYTES = 4 * 1024
CONNECTION_BATCH_BYTES = 16 * 1024
CONNECTION_STREAMS = 100
Measure = Callable[[Context, Growth], None]


def run(context: Context) -> None:
    """Measure every curve; one that fails says so and spoils no other."""
    client = context.subject.client
    short = {"load": "short"}
    plots: list[tuple[Growth, Measure]] = [
        (
            Growth("batch-size", "Lines/s against batch size", "batch size, bytes", "lines/s",
                   short | {"in_flight": 4}, client),
            _batch_size,
        ),
        (
            Growth("in-flight", "Lines/s against requests in flight", "requests in flight",
                   "lines/s", short | {"batch_bytes": CONNECTION_BATCH_BYTES}, client),
            _in_flight,
        ),
        (
            Growth("queues", "Cost of a line against the number of queues", "queues", "ns/line",
                   short | {"batch_bytes": QUEUE_BATCH_BYTES, "in_flight": 16}, client),
            _queues,
        ),
        (
            Growth("depth", "Cost of a line against the depth of the queue", "lines in the queue",
                   "ns/line", {"load": "seq", "batch_bytes": 1024 * 1024, "in_flight": 4}, client),
            _depth,
        ),
        (
            Growth("connections", "Cost of a line against connections", "connections", "ns/line",
                   short | {"batch_bytes": CONNECTION_BATCH_BYTES,
                            "in_flight": f"{CONNECTION_STREAMS} in all, at least 1 a connection"},
                   "h2load"),
            _connections,
        ),
    ]  # fmt: skip
    for at, (growth, measure) in enumerate(plots):
        context.run.growth.append(growth)
        # The last suite: what the others took too long for is missing here.
        growth.why_not = context.unable() or (
            "" if context.budget.left() > 0 else "no time was left for it"
        )
        if not growth.why_not:
            try:
                with context.budget.share(1 / (len(plots) - at)):
                    measure(context, growth)
            except Failure as error:
                growth.why_not = str(error)
                context.note(f"{growth.name}: {error}")
        if growth.name in FLAT:
            context.run.targets.append(flatness(growth))


def flatness(growth: Growth) -> Target:
    """Compare, round by round, what a line costs at the far end of a plot and at its beginning.

    The cost is that of a push and a pull together.
    """
    what = FLAT[growth.name]
    if not growth.curves:
        row = f"cost of a line, many {what}"
        return Target(row, "x", f"few {what}", FLAT_WITHIN, FLAT_WITHIN, at_most=True,
                      why_not=growth.why_not)  # fmt: skip
    ends = []
    for at in (-1, 0):
        columns = [curve.points[at][1] for curve in growth.curves]
        ends.append([sum(pair) for pair in zip(*columns, strict=True)])
    rounds = min(map(len, ends))  # a deeper queue may have had time for fewer
    many, few = (growth.curves[0].points[at][0] for at in (-1, 0))
    return Target(
        f"cost of a line, {many:,} {what}",
        "x",
        f"{few:,} {what}",
        FLAT_WITHIN,
        FLAT_WITHIN,
        at_most=True,
        samples=paired_ratios(*(end[:rounds] for end in ends)),
        absolute=f"{spread(ends[0])} against {spread(ends[1])} ns, pushed and pulled",
    )


def _vary(context: Context, growth: Growth, points: Sequence[tuple[int, dict[str, Any]]]) -> None:
    """Sample push and pull under varying conditions on one server, all points each round."""
    with ExitStack() as stack:
        peer = context.server(stack, growth.name)
        contenders = []
        for x, conditions in points:
            contender = context.drive(stack, peer, **conditions)
            contender.calibrate(context.seconds)
            contenders.append((x, contender))
        for _ in context.rounds():
            for _, contender in contenders:
                contender.round()
    growth.curves += [
        Curve(figure, [(x, contender.rates[figure]) for x, contender in contenders])
        for figure in FIGURES
    ]


def _batch_size(context: Context, growth: Growth) -> None:
    sizes = context.pick(
        (21, 4096, 1024 * 1024),
        (21, 256, 1024, 4096, 16_384, 65_536, 262_144, 1024 * 1024, 4 * 1024 * 1024),
    )
    _vary(context, growth, [(size, {"batch_bytes": size}) for size in sizes])


def _in_flight(context: Context, growth: Growth) -> None:
    flights = context.pick((1, 16), (1, 2, 4, 8, 16, 32, 64))
    _vary(
        context,
        growth,
        [(n, {"in_flight": n, "batch_bytes": CONNECTION_BATCH_BYTES}) for n in flights],
    )


def _queues(context: Context, growth: Growth) -> None:
    """Give each sample a fresh server and the same number of requests."""
    counts = context.pick((1, 300), (1, 10, 100, 1000, 10_000))
    curves = {figure: Curve(figure, [(count, []) for count in counts]) for figure in FIGURES}
    for number in context.budget.rounds(2, 3):
        for at, count in enumerate(counts):
            with ExitStack() as stack:
                peer = context.server(
                    stack, f"queues-{count}-{number}", batch_bytes=QUEUE_BATCH_BYTES, in_flight=16
                )
                contender = context.drive(stack, peer)
                took = contender.driver.call("spread", queues=count, requests=max(counts))
            for figure, curve in curves.items():
                curve.points[at][1].append(took[figure] / took["lines"] * 1e9)
    growth.curves += curves.values()


def _depth(context: Context, growth: Growth) -> None:
    """Fill one queue step by step; at each depth push, and pull as much from its other end."""
    depths = context.pick(
        (0, 1_000_000, 4_000_000), (0, 100_000, 1_000_000, 10_000_000, 100_000_000)
    )
    curves = {figure: Curve(figure) for figure in FIGURES}
    amount = context.pick(32, 64) * loads.LOADS["seq"].lines_in(1024 * 1024)
    with ExitStack() as stack:
        peer = context.server(stack, "depth", load="seq")
        contender = context.drive(stack, peer)
        contender.driver.call("at_depth", lines=amount)
        depth = 0
        for at, wanted in enumerate(depths):
            if wanted > depth:
                depth += contender.driver.call("deepen", lines=wanted - depth)
            samples: dict[str, list[float]] = {figure: [] for figure in FIGURES}
            with context.budget.share(1 / (len(depths) - at)):
                for _ in context.rounds():
                    moved = contender.driver.call("at_depth", lines=amount)
                    for figure in FIGURES:
                        cost = moved[figure]["seconds"] / moved[figure]["lines"] * 1e9
                        samples[figure].append(cost)
            for figure, curve in curves.items():
                curve.points.append((depth, samples[figure]))
    growth.curves += curves.values()


def _connections(context: Context, growth: Growth) -> None:
    counts = context.pick((1, 10, 100), (1, 10, 100, 1000))
    # Forty a connection at the least, so that it is not its set-up that is measured.
    requests = context.pick(4_000, 40_000)
    batch = loads.LOADS["short"].batch(0, loads.LOADS["short"].lines_in(CONNECTION_BATCH_BYTES))
    path = context.directory / "connections-batch"
    path.write_bytes(batch.payload)
    curves = {figure: Curve(figure, [(count, []) for count in counts]) for figure in FIGURES}
    query = f"wait=0&max_bytes={len(batch.payload)}"
    with ExitStack() as stack:
        peer = context.server(stack, "connections")
        driver = Driver("benchmarks.suites.requests:H2load", {}, context.directory / "h2load.log")
        stack.callback(driver.stop)
        for number in context.rounds():
            for at, count in enumerate(counts):
                url = f"http://127.0.0.1:{peer.port}/{{}}/c{count}-{number}"
                load = {"clients": count, "streams": max(1, CONNECTION_STREAMS // count)}
                load["requests"] = requests
                push = driver.call("run", url=url.format("push"), data=str(path), **load)
                pull = driver.call("run", url=f"{url.format('pull')}?{query}", **load)
                for figure, seconds in (("push", push), ("pull", pull)):
                    cost = seconds / (requests * batch.lines) * 1e9
                    curves[figure].points[at][1].append(cost)
    growth.curves += curves.values()
