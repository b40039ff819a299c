"""What a contender is: a server that the harness starts, and a load that a driver runs.

One class has both halves. The harness calls `missing`, `start` and `stop`; the driver's
process makes its own instance and calls `open`, `push`, `pull` and `close` on that.
This file knows no particular peer.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from benchmarks import loads, process

Moved = dict[str, float]
"""`lines`, payload `bytes` and `seconds` of one measured call."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a figure holds under; printed with every figure.

    Attributes:
        load: A key of `loads.LOADS`.
        batch_bytes: Payload bytes of a batch, about.
        in_flight: Requests (or calls) under way at once.
        connections: Connections between load and server.
        store: The server's store, as its `--store` takes it; `-` where there is none.
        fsync: When the store syncs; `-` where nothing is written.
    """

    load: str = "short"
    batch_bytes: int = 1024 * 1024
    in_flight: int = 4
    connections: int = 1
    store: str = "-"
    fsync: str = "-"


class Peer(ABC):
    """A contender: how it is started, and how the same lines go through it."""

    name: ClassVar[str]
    about: ClassVar[str]
    client: ClassVar[str]
    settings: ClassVar[str] = "-"
    programs: ClassVar[Mapping[str, str]] = {}
    """Programs that it needs, each with the system package that brings it."""
    tuned: ClassVar[Mapping[str, Any]] = {}
    """The conditions under which this peer does best, where they differ from the others'."""
    can_pull: ClassVar[bool] = True
    lines_cap: ClassVar[int] = 100_000_000
    """The most lines of one measured call, for peers that break or crawl above it."""

    def __init__(self, directory: str, port: int = 0, **conditions: Any) -> None:
        """Prepare one half.

        Args:
            directory: A directory for this peer alone: logs, data.
            port: Where its server listens; known only to the driver's half.
            conditions: Fields of `Conditions`.
        """
        self.directory = Path(directory)
        self.port = port
        self.conditions = replace(Conditions(**conditions), **self.tuned)
        self._server: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()

    # The harness's half

    @classmethod
    def missing(cls) -> str | None:
        """Say what is not installed and how to install it; None when nothing is missing."""
        absent = {p: package for p, package in cls.programs.items() if shutil.which(p) is None}
        if not absent:
            return None
        return f"{', '.join(absent)} not found: apt-get install {' '.join(set(absent.values()))}"

    @abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """Give the command that serves on a port; empty for a peer without a server."""

    def start(self) -> int:
        """Start the server and return its port; 0 without a server."""
        self.directory.mkdir(parents=True, exist_ok=True)
        port = process.free_port()
        command = self.command(port)
        if not command:
            return 0
        log = self.directory / "server.log"
        self._server = process.spawn(command, process.SERVER, log, env=self.environment())
        process.wait_for_port(port, self._server, log)
        self.port = port
        return port

    def environment(self) -> Mapping[str, str]:
        """Give the variables that the server's process gets besides the harness's own."""
        return {}

    @property
    def server_pid(self) -> int:
        """The server's process id; 0 without a server."""
        return self._server.pid if self._server else 0

    def stop(self) -> None:
        """Stop the server."""
        if self._server is not None:
            process.stop(self._server)
            self._server = None

    def target(self) -> tuple[str, dict[str, Any]]:
        """Name the class and arguments with which a driver makes its half."""
        arguments = {"directory": str(self.directory), "port": self.port}
        return f"{type(self).__module__}:{type(self).__qualname__}", (
            arguments | asdict(self.conditions)
        )

    # The driver's half

    @property
    def lines_per_call(self) -> int:
        """How many lines one request or call carries."""
        return loads.LOADS[self.conditions.load].lines_in(self.conditions.batch_bytes)

    def batches(self, lines: int) -> Iterator[loads.Batch]:
        """Give batches that hold at least `lines` lines together, from the load's pool."""
        size = self.lines_per_call * (loads.LOADS[self.conditions.load].line_bytes + 1)
        batches = itertools.cycle(loads.pool(self.conditions.load, size))
        return itertools.islice(batches, max(1, -(-lines // self.lines_per_call)))

    def fresh(self) -> str:
        """Give a name for a queue, list or stream that no earlier call used."""
        return f"{type(self).__name__.lower()}-{next(self._names)}"

    async def open(self) -> None:
        """Connect, and make the load's batches."""
        for _ in self.batches(1):
            pass

    @abstractmethod
    async def push(self, lines: int) -> Moved:
        """Move at least `lines` lines into the server and wait until it has them."""

    async def pull(self) -> Moved:
        """Take out all that the last `push` put in."""
        raise NotImplementedError

    async def close(self) -> None:  # noqa: B027 - a peer without a connection has nothing to close
        """Disconnect."""

    @classmethod
    def at(cls, directory: Path, **conditions: Any) -> Self:
        """Make the harness's half in a subdirectory of its own."""
        return cls(str(directory / cls.__name__.lower()), **conditions)


def python(*arguments: str) -> list[str]:
    """Give the command that runs this interpreter."""
    return [sys.executable, *arguments]
