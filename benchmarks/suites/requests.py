"""Single lines: how many requests a second, against a bare ASGI hello; h2load drives both."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks import loads
from benchmarks.context import Context, Failure
from benchmarks.driver import Driver
from benchmarks.figures import Series, Target, spread
from benchmarks.peers.base import Peer
from benchmarks.peers.ceilings import CeilingC, h2load
from benchmarks.peers.hello import Hello
from benchmarks.stats import paired_ratios

STREAMS = 32


def run(context: Context) -> None:
    """Measure one-line pushes and pulls against hello."""
    rows = {
        figure: Target(f"{figure} of one line", "x", "bare ASGI hello, requests/s", 0.55, 0.8)
        for figure in ("push", "pull")
    }
    context.run.targets += rows.values()
    why_not = context.unable() or CeilingC.missing() or ""
    if not why_not:
        try:
            _measure(context, rows)
        except Failure as error:
            why_not = str(error)
    for target in rows.values():
        target.why_not = "" if target.samples else why_not


def _measure(context: Context, rows: dict[str, Target]) -> None:
    requests = context.pick(1_000, 15_000)
    line = context.directory / "one-line"
    line.write_bytes(loads.LOADS["short"].batch(0, 1).payload)
    rates: dict[str, list[float]] = {"hello push": [], "hello pull": [], "push": [], "pull": []}
    with ExitStack() as stack:
        ours = context.server(stack, "requests")
        hello = Hello.at(context.directory)
        hello.start()
        stack.callback(hello.stop)
        driver = Driver("benchmarks.suites.requests:H2load", {}, context.directory / "h2load.log")
        stack.callback(driver.stop)
        for number in context.budget.rounds(3, 6):
            measured = {
                "hello push": _rate(driver, hello, "push/q", requests, line),
                "push": _rate(driver, ours, f"push/q{number}", requests, line),
                "hello pull": _rate(driver, hello, "pull/q", requests),
                "pull": _rate(driver, ours, f"pull/q{number}?max=1&wait=0", requests),
            }
            # The first round warms all processes up.
            for name, rate in measured.items() if number else ():
                rates[name].append(rate)
    conditions = {"load": "short", "batch_bytes": 21, "in_flight": STREAMS, "connections": 1}
    for figure, target in rows.items():
        target.samples = paired_ratios(rates[figure], rates[f"hello {figure}"])
        absolute = spread(rates[figure]), spread(rates[f"hello {figure}"])
        target.absolute = f"{absolute[0]} against {absolute[1]} requests/s"
        for name, key in ((context.subject.name, figure), (Hello.name, f"hello {figure}")):
            context.run.series.append(
                Series(
                    name, f"{figure} of one line", "requests/s", rates[key], conditions, "h2load"
                )
            )


def _rate(driver: Driver, peer: Peer, path: str, requests: int, line: Path | None = None) -> float:
    url = f"http://127.0.0.1:{peer.port}/{path}"
    seconds = driver.call("run", url=url, requests=requests, data=str(line) if line else "")
    return requests / float(seconds)


class H2load:
    """Runs h2load on the driver's core."""

    def run(
        self, url: str, requests: int, data: str = "", clients: int = 1, streams: int = STREAMS
    ) -> float:
        """Send requests and return the seconds they took.

        Raises:
            RuntimeError: A request failed.
        """
        options = ["-c", str(clients), "-m", str(streams)]
        seconds, failed = h2load(url, requests, *options, *(["-d", data] if data else []))
        if failed:
            raise RuntimeError(f"{failed} of {requests} requests to {url} failed")
        return seconds
