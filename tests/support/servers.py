"""Servers for tests: the real command as a process, and the application in this one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hypercorn.asyncio import serve
from hypercorn.config import Config

from batchq.app import App, Settings, create_app
from batchq.model import Limits
from batchq.stores.base import Store
from batchq.stores.memory import MemoryStore

ANNOUNCED = "batchq listening on "

_START_SECONDS = 20.0
_STOP_SECONDS = 20.0

_DEFAULTS = {"PYTHONWARNINGS": "error", "BATCHQ_STORE": "memory:"}
"""A test that wants another store says so by a flag, which goes before the environment."""


class ServerProcess:
    """``python -m batchq server`` on a free port of the loopback.

    Args:
        flags: of the command; ``--port 0`` comes by itself.
        env: variables beside those of this process.
        under: a command that runs it, as the same process: ``strace -D``, say.

    Attributes:
        url: where it listens, once it was started.
        announced: the lines that it has printed on stdout.
        stderr: what it has written there so far.
    """

    def __init__(
        self, *flags: str, env: Mapping[str, str] | None = None, under: Sequence[str] = ()
    ) -> None:
        command = [sys.executable, "-m", "batchq", "server", "--port", "0", *flags]
        self._command = [*under, *command]
        self._env = {**os.environ, **_DEFAULTS, **(env or {})}
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._listening = threading.Event()
        self._errors: list[str] = []
        self.announced: list[str] = []
        self.url = ""

    def start(self) -> Self:
        """Starts it and waits until its port accepts.

        Raises:
            RuntimeError: it ended, or said nothing in time; with what it wrote.
        """
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        if not self._listening.wait(_START_SECONDS) or not self.url:
            code = self.kill()
            raise RuntimeError(f"the server did not start (exit code {code}): {self.stderr}")
        return self

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process, while there is one."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def stderr(self) -> str:
        """What it has written on stderr so far."""
        return "".join(self._errors)

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for its end, and gives the exit code."""
        process = self.process
        try:
            code = process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)
            raise
        finally:
            for reader in self._readers:
                reader.join(_STOP_SECONDS)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it cleanly, and gives the exit code. May be called twice."""
        if self.process.poll() is None:
            self.send(number)
        return self.wait()

    def kill(self) -> int:
        """Kills it (SIGKILL), as a crash would."""
        return self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _read_stdout(self) -> None:
        stream = self.process.stdout
        if stream is None:
            return
        with stream:
            for line in stream:
                text = line.rstrip("\n")
                if not self.announced:
                    self.url = text.removeprefix(ANNOUNCED) if text.startswith(ANNOUNCED) else ""
                self.announced.append(text)
                self._listening.set()
        self._listening.set()

    def _read_stderr(self) -> None:
        stream = self.process.stderr
        if stream is None:
            return
        with stream:
            for line in stream:
                self._errors.append(line)


@dataclass(frozen=True, slots=True)
class LocalServer:
    """An application that is served by the test's own event loop.

    Attributes:
        url: where it listens.
        app: the application.
        store: its queues.
    """

    url: str
    app: App
    store: Store

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for raw sockets."""
        host, port = self.url.rpartition("/")[2].rsplit(":", 1)
        return host, int(port)


@asynccontextmanager
async def serving(
    *,
    store: Store | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
    **config: Any,
) -> AsyncIterator[LocalServer]:
    """Serves an application for the length of the block, on Hypercorn's own transports.

    Args:
        store: its queues; by default in memory.
        settings: the application's.
        limits: of the default store.
        config: attributes of Hypercorn's configuration.
    """
    kept = store or MemoryStore(limits or Limits())
    await kept.start()
    app = create_app(kept, settings)
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    host, port = sock.getsockname()
    settled = Config()
    settled.bind = [f"fd://{sock.fileno()}"]
    settled.errorlog = None
    settled.keep_alive_max_requests = 2**62
    for name, value in config.items():
        setattr(settled, name, value)
    listening, stop = asyncio.Event(), asyncio.Event()

    async def ended() -> None:
        listening.set()
        await stop.wait()
        kept.drain()

    served = asyncio.create_task(serve(app, settled, shutdown_trigger=ended))
    waiting = asyncio.create_task(listening.wait())
    try:
        await asyncio.wait((served, waiting), return_when=asyncio.FIRST_COMPLETED)
        scheme = "https" if settled.ssl_enabled else "http"
        yield LocalServer(f"{scheme}://{host}:{port}", app, kept)
    finally:
        waiting.cancel()
        stop.set()
        await served
        sock.detach()
        await kept.stop()
