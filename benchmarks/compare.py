"""Contenders in turn: A B A B within one run, so that drift of the machine hits all alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.driver import CALL_TIMEOUT, Driver, DriverError
from benchmarks.figures import Run, Series
from benchmarks.loads import LOADS
from benchmarks.peers.base import Peer
from benchmarks.process import ProcessError

BYTES_CAP = 256 * 1024 * 1024
"""The most payload of one measured call; bounds the memory of servers and drivers."""
GROWTH_STEP = 16
LEAST_ROUNDS, MOST_ROUNDS = 2, 5
PATIENCE = 20
LEAST_PATIENCE_SECONDS = 6.0
"""A call that takes so many times the seconds that it should, and these at least, has stalled."""


@dataclass(slots=True)
class Contender:
    """A started peer with its driver.

    Attributes:
        peer: The harness's half.
        driver: The load's half.
        lines: How many lines a round moves, found by `calibrate`.
        patience: Seconds after which a call is given up.
        rates: Lines/s by figure, one value a round.
    """

    peer: Peer
    driver: Driver
    lines: int = 0
    patience: float = CALL_TIMEOUT
    rates: dict[str, list[float]] = field(default_factory=lambda: {"push": [], "pull": []})

    def move(self, figure: str, **arguments: Any) -> tuple[float, float]:
        """Run one measured call and return lines/s and seconds."""
        moved = self.driver.call(figure, self.patience, **arguments)
        seconds = max(moved["seconds"], 1e-9)
        return moved["lines"] / seconds, seconds

    def calibrate(self, seconds: float) -> None:
        """Find how many lines take about `seconds` each way; warms up both processes."""
        cap = self.lines_cap()
        self.patience = max(LEAST_PATIENCE_SECONDS, PATIENCE * seconds)
        self.lines = self.driver.call("push", self.patience, lines=1)["lines"]
        self._drain()
        while True:
            _, took = self.move("push", lines=self.lines)
            slowest = max(took, self._drain())
            if slowest > seconds / 4 or self.lines >= cap:
                break
            step = min(GROWTH_STEP, seconds / slowest)
            self.lines = min(cap, max(self.lines + 1, int(self.lines * step)))
        if slowest > 0:
            self.lines = max(1, min(cap, int(self.lines * seconds / slowest)))

    def lines_cap(self) -> int:
        """Bound one call's lines by the peer's cap and by `BYTES_CAP`."""
        return max(1, min(self.peer.lines_cap, BYTES_CAP // self.line_size))

    @property
    def line_size(self) -> int:
        """Bytes of a line, its newline included."""
        return LOADS[self.peer.conditions.load].line_bytes + 1

    def _drain(self) -> float:
        return self.move("pull")[1] if self.peer.can_pull else 0.0

    def round(self, most: int | None = None) -> None:
        """Push and pull all lines once, and keep both rates.

        Args:
            most: No more lines than these are to be held at once: they are moved in equal parts,
                each pushed and then pulled, and a rate is that of all parts together.
        """
        parts = 1 if most is None else -(-self.lines // most)
        lines = -(-self.lines // parts)
        calls: dict[str, dict[str, int]] = {"push": {"lines": lines}}
        if self.peer.can_pull:
            calls["pull"] = {}
        moved, took = dict.fromkeys(calls, 0.0), dict.fromkeys(calls, 0.0)
        for _ in range(parts):
            for figure, arguments in calls.items():
                rate, seconds = self.move(figure, **arguments)
                moved[figure] += rate * seconds
                took[figure] += seconds
        for figure in calls:
            self.rates[figure].append(moved[figure] / took[figure])

    def series(self) -> list[Series]:
        """Give the samples so far with what they hold under."""
        peer = self.peer
        conditions = asdict(peer.conditions) | {"lines_per_call": peer.lines_per_call}
        return [
            Series(
                peer.name, figure, "lines/s", rates, conditions, peer.client, peer.about,
                peer.settings,
            )
            for figure, rates in self.rates.items()
            if rates
        ]  # fmt: skip


def say(text: str) -> None:
    """Tell the person at the terminal how far the run is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def enter(stack: ExitStack, peer: Peer) -> Contender:
    """Start a peer and its driver; the stack stops both.

    Raises:
        ProcessError: The server did not start.
        DriverError: The driver could not connect.
    """
    peer.start()
    stack.callback(peer.stop)
    target, arguments = peer.target()
    driver = Driver(target, arguments, peer.directory / "driver.log")
    stack.callback(driver.stop)
    driver.call("open")
    return Contender(peer, driver)


def side_by_side(
    peers: Sequence[type[Peer]],
    run: Run,
    directory: Path,
    *,
    budget: Budget,
    seconds: float,
    **conditions: Any,
) -> list[Series]:
    """Measure contenders in turn, round after round.

    A contender that is not installed or fails is left out from then on and named in
    `run.missing`.

    Args:
        peers: Who takes part, in the order of each round.
        run: Takes the series and what is missing.
        directory: Where each contender gets a directory.
        budget: What bounds the number of rounds.
        seconds: About how long one measured call takes.
        conditions: Fields of `Conditions` for all; a peer's own `tuned` go first.
    """
    with ExitStack() as stack:
        contenders = []
        for peer in peers:
            absent = peer.missing()
            if absent:
                note(run, f"{peer.name}: {absent}")
                continue
            try:
                contender = enter(stack, peer.at(directory, **conditions))
                contender.calibrate(seconds)
            except (ProcessError, DriverError) as error:
                note(run, f"{peer.name}: {error}")
                continue
            contenders.append(contender)
        for number in budget.rounds(LEAST_ROUNDS, MOST_ROUNDS):
            say(f"  round {number + 1}: {', '.join(c.peer.name for c in contenders)}")
            for contender in list(contenders):
                try:
                    contender.round()
                except (ProcessError, DriverError) as error:
                    note(run, f"{contender.peer.name}: {error}")
                    contenders.remove(contender)
    measured = [series for contender in contenders for series in contender.series()]
    run.series += measured
    return measured


def note(run: Run, text: str) -> None:
    """Keep, once, what is missing or failed."""
    if text not in run.missing:
        say(f"  ! {text}")
        run.missing.append(text)
