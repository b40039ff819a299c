"""The harness's half: servers as a row wants them, and the driver that loads them."""

from __future__ import annotations

import json
import subprocess
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import process
from benchmarks.driver import Driver
from benchmarks.peers.base import python

CALL_SECONDS = 25.0
STOP_SECONDS = 0.5
"""A stock server may hang at its end; what it has to lose is nothing."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        port: Where it listens.
        process: It.
    """

    port: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def stop(self) -> None:
        """End it."""
        process.stop(self.process, STOP_SECONDS)


MOST_SERVERS = 6
"""Kept running between rows: a start takes longer than most samples."""


class Bench:
    """What the rows' ways of measuring are given.

    Args:
        stack: Stops everything.
        directory: For logs.
        target: The driver's object, as `module:class`.
    """

    def __init__(self, stack: ExitStack, directory: Path, target: str) -> None:
        """Start the driver."""
        self._directory = directory
        self._servers: OrderedDict[str, Server] = OrderedDict()
        self._target = target
        self._driver: Driver | None = None
        stack.callback(self._stop)

    def load(self, method: str, *ports: int, **arguments: Any) -> Any:
        """Run a load; a port given first is the server's.

        Raises:
            DriverError: It failed.
            ProcessError: It took too long; the next load has a new driver.
        """
        named = {"port": ports[0]} if ports else {}
        if self._driver is None:
            self._driver = Driver(self._target, {}, self._directory / "cures-driver.log")
        try:
            return self._driver.call(method, CALL_SECONDS, **named, **arguments)
        except process.ProcessError:
            self._driver.stop()
            self._driver = None
            raise

    def server(self, **options: Any) -> Server:
        """Give a server with these options, which is started if none runs."""
        key = json.dumps(options)
        found = self._servers.pop(key, None) or self._start(options)
        self._servers[key] = found
        while len(self._servers) > MOST_SERVERS:
            self._servers.popitem(last=False)[1].stop()
        return found

    @contextmanager
    def fresh(self, **options: Any) -> Iterator[Server]:
        """Run a server of its own for the block."""
        server = self._start(options)
        try:
            yield server
        finally:
            server.stop()

    @contextmanager
    def other(self, module: str, *words: str) -> Iterator[Server]:
        """Run another server that takes its port as the last word."""
        port = process.free_port()
        server = self._run(port, python("-m", module, *words, str(port)))
        try:
            yield server
        finally:
            server.stop()

    def _start(self, options: dict[str, Any]) -> Server:
        port = process.free_port()
        words = (str(port), json.dumps(options))
        return self._run(port, python("-m", "benchmarks.cures.serve", *words))

    def _run(self, port: int, command: list[str]) -> Server:
        log = self._directory / "cures-server.log"
        running = process.spawn(command, process.SERVER, log)
        process.wait_for_port(port, running, log)
        return Server(port, running)

    def _stop(self) -> None:
        for server in self._servers.values():
            server.stop()
        if self._driver is not None:
            self._driver.stop()
