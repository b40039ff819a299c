"""The real HAProxy in front of real shards, each a process."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from support.ports import free_port
from support.servers import ServerProcess

from batchq.haproxy import Front, Layout, Shard, first, render, slot_of

_SECONDS = 30.0
_SIGNAL_SECONDS = 5.0


def wait_until(holds: Callable[[], bool], seconds: float = _SECONDS) -> None:
    """Asks again and again; a ``TimeoutError`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(getattr(holds, "__name__", repr(holds)))
        time.sleep(0.01)


def checked(config: Path) -> subprocess.CompletedProcess[str]:
    """What ``haproxy -c`` says of a configuration."""
    return subprocess.run(
        ["haproxy", "-c", "-f", str(config)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


class HaproxyProcess:
    """HAProxy as services run it: a master, and a worker for each configuration in use.

    Args:
        config: the configuration's file, read again by each ``reload``.
        port: where it listens.
    """

    def __init__(self, config: Path, port: int) -> None:
        self.config = config
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert shutil.which("haproxy"), "haproxy is not installed"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["haproxy", "-W", "-f", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._accepts)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self.process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_SECONDS)
            raise

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The master."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    def workers(self) -> list[int]:
        """The processes that serve: the newest, and those that a reload left."""
        pid = self.process.pid
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]

    def reload(self) -> list[int]:
        """Takes the configuration up; gives the workers that may still serve by the old one."""
        old = self.workers()
        give_up = time.monotonic() + _SECONDS
        while True:
            self.process.send_signal(signal.SIGUSR2)
            try:
                wait_until(lambda: bool(set(self.workers()) - set(old)), _SIGNAL_SECONDS)
                break
            except TimeoutError:
                # A master that has not quite started, or reloads just now, misses the signal.
                if time.monotonic() > give_up:
                    raise
        wait_until(self._accepts)
        return old

    def _accepts(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"haproxy has ended: {self.log}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True


class Cluster:
    """Shards with a store each on the disk, and HAProxy before them.

    Args:
        folder: for stores, configuration and log.
        names: the shards'.
        flags: of every shard.
        certfile: with it, the front also listens with TLS.
        settings: of ``Front``, beside what is known here.
    """

    def __init__(
        self,
        folder: Path,
        names: Iterable[str] = ("a", "b", "c"),
        flags: Iterable[str] = (),
        certfile: Path | None = None,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.shards = {name: Shard(name, "127.0.0.1", free_port()) for name in names}
        self.layout: Layout = first(list(self.shards))
        self.servers: dict[str, ServerProcess] = {}
        self.tls_port = free_port() if certfile is not None else 0
        self._flags = tuple(flags)
        self._stack = ExitStack()
        port = free_port()
        tls = (
            {}
            if certfile is None
            else {"bind_tls": f"127.0.0.1:{self.tls_port}", "certfile": str(certfile)}
        )
        self._settings = {"bind": f"127.0.0.1:{port}", "check": 0.1, **tls, **settings}
        self.haproxy = HaproxyProcess(folder / "haproxy.cfg", port)
        self.haproxy.config.write_text(self.config())

    def config(self) -> str:
        """The configuration for what the shards are now."""
        front = Front(
            shards=list(self.shards.values()),
            layout=self.layout,
            **self._settings,  # type: ignore[arg-type]
        )
        return render(front)

    @property
    def url(self) -> str:
        """The front."""
        return self.haproxy.url

    @property
    def tls_url(self) -> str:
        """The front with TLS."""
        return f"https://localhost:{self.tls_port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name in self.shards:
                self.start(name)
                stack.callback(self._end, name)
            stack.enter_context(self.haproxy)
            for name in self.shards:
                self.wait(name, up=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def start(self, name: str) -> ServerProcess:
        """Starts a shard at its address."""
        shard = self.shards[name]
        store = f"sqlite:{self.folder / name}.sqlite"
        # The port of one that was killed may be in use for a moment.
        server = ServerProcess("--port", str(shard.port), "--store", store, *self._flags)
        self.servers[name] = server.start()
        return server

    def kill(self, name: str) -> None:
        """Kills a shard."""
        self.servers[name].kill()

    def wait(self, name: str, *, up: bool) -> None:
        """Waits until HAProxy knows that a shard is up, or down."""
        # A call that fails does not make it down: the health checks do, and say so.
        wait_until(lambda: self._known_up(name) == up and self._status(name) == (503, 200)[up])

    def queue_on(self, name: str, stem: str = "q") -> str:
        """A queue's name that lives on a shard."""
        names = (f"{stem}{number}" for number in range(10_000))
        return next(one for one in names if self.layout.shard_of(one) == name)

    def slot(self, queue: str) -> int:
        """A queue's slot."""
        return slot_of(queue, len(self.layout.owners))

    def _known_up(self, name: str) -> bool:
        told = re.findall(
            rf"^Server shard_{name}/{name} is (UP|DOWN)", self.haproxy.log, re.MULTILINE
        )
        return not told or told[-1] == "UP"

    def _status(self, name: str) -> int:
        try:
            return httpx.get(
                f"{self.url}/readyz", params={"shard": name}, timeout=5.0, trust_env=False
            ).status_code
        except httpx.TransportError:
            return 0

    def _end(self, name: str) -> None:
        server = self.servers[name]
        if server.process.poll() is None:
            server.stop()
