"""What every suite of a run is given: how long, how often, against which store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.compare import LEAST_ROUNDS, MOST_ROUNDS, Contender, note
from benchmarks.driver import Driver, DriverError
from benchmarks.figures import Run
from benchmarks.peers.base import Peer
from benchmarks.peers.http import Batchq
from benchmarks.process import ProcessError

Failure = (ProcessError, DriverError, RuntimeError, OSError)
"""What may go wrong in one figure without spoiling the others."""


@dataclass(slots=True)
class Context:
    """How a run measures.

    Attributes:
        run: Takes the figures.
        budget: What bounds the rounds of every suite.
        directory: Scratch space on a real disk.
        quick: Whether the run has two minutes rather than twenty.
        store: The stores of the batchq rows: `memory` or `sqlite`.
        subject: The peer that stands for batchq.
    """

    run: Run
    budget: Budget
    directory: Path
    quick: bool
    store: str = "memory"
    subject: type[Peer] = Batchq

    def rounds(self, most: int = MOST_ROUNDS) -> Iterator[int]:
        """Count the rounds of a figure: up to `most`, as time allows."""
        return self.budget.rounds(LEAST_ROUNDS, most)

    @property
    def seconds(self) -> float:
        """About how long one measured call takes."""
        return 0.15 if self.quick else 0.6

    def pick(self, quick: Any, full: Any) -> Any:
        """Choose by mode."""
        return quick if self.quick else full

    def unable(self) -> str:
        """Say why batchq's own rows can't be measured; empty when they can."""
        return self.subject.missing() or ""

    def note(self, text: str) -> None:
        """Keep what is missing or failed."""
        note(self.run, text)

    def server(self, stack: ExitStack, name: str, **conditions: Any) -> Peer:
        """Start a server of the subject; the stack stops it."""
        peer = self.subject(str(self.directory / name), **conditions)
        peer.start()
        stack.callback(peer.stop)
        return peer

    def drive(self, stack: ExitStack, peer: Peer, **conditions: Any) -> Contender:
        """Start a driver of a running server; conditions given here go before the server's."""
        target, arguments = peer.target()
        half = type(peer)(**{**arguments, **conditions})
        driver = Driver(target, {**arguments, **conditions}, peer.directory / "driver.log")
        stack.callback(driver.stop)
        driver.call("open")
        return Contender(half, driver)
