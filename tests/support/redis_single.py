"""A real redis-server for tests that need one, on a Unix socket, keeping nothing on disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_STARTED_WITHIN = 20.0


class SingleRedis:
    """One redis-server; ends with ``stop``.

    Args:
        keeps: it syncs a log on each write, and has everything when it is started again.
    """

    def __init__(self, *, keeps: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bq-redis-"))
        self._keeps = keeps
        self.path = self._folder / "redis.sock"
        self.url = f"unix://{self.path}"
        self.start()

    def start(self) -> None:
        keeping = ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(
            [
                "redis-server", "--port", "0", "--unixsocket", str(self.path),
                "--save", "", "--dir", str(self._folder), *(keeping if self._keeps else []),
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + _STARTED_WITHIN
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(self.path))
                except OSError:
                    time.sleep(0.01)
                    continue
                probe.sendall(b"PING\r\n")
                if probe.recv(64).startswith(b"+PONG"):
                    return
            time.sleep(0.01)
        self.stop()
        raise RuntimeError("redis-server did not start")

    def kill(self) -> None:
        """Ends it as a crash does."""
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)
