"""What the machine could do: nghttpd under h2load, bare uvloop, plain files.

None of these is a queue. They bound what a queue in C or in Python could reach here.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from benchmarks.driver import timed
from benchmarks.peers.base import Moved, Peer, python
from benchmarks.peers.raw import HEAD, Counter

FINISHED = re.compile(r"finished in ([0-9.]+)(us|ms|s|m|min|h)\b")
SUCCEEDED = re.compile(r"(\d+) succeeded, (\d+) failed")
UNIT_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def h2load(url: str, requests: int, *options: str, timeout: float = 60) -> tuple[float, int]:
    """Run h2load on the calling process's core.

    Args:
        url: What to request.
        requests: How many requests in all.
        options: Further options.
        timeout: The most seconds that it may take.

    Returns:
        Seconds that it took by its own count, and requests that did not succeed.

    Raises:
        RuntimeError: Its output was not understood.
    """
    command = ["h2load", "-n", str(requests), *options, url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    finished, succeeded = FINISHED.search(run.stdout), SUCCEEDED.search(run.stdout)
    if finished is None or succeeded is None:
        raise RuntimeError(f"h2load said: {run.stdout[-400:]} {run.stderr[-400:]}")
    seconds = float(finished[1]) * UNIT_SECONDS[finished[2]]
    return seconds, requests - int(succeeded[1])


class CeilingC(Peer):
    """An HTTP/2 server and client in C, both without any queue."""

    name = "ceiling C"
    about = "nghttpd driven by h2load, upload and download"
    client = "h2load"
    settings = "windows of 2^30 - 1, one thread"
    programs: ClassVar[Mapping[str, str]] = {
        "nghttpd": "nghttp2-server",
        "h2load": "nghttp2-client",
    }

    def __init__(self, directory: str, port: int = 0, **conditions: Any) -> None:
        """Prepare one half; see `Peer`."""
        super().__init__(directory, port, **conditions)
        self._requests = 0

    def command(self, port: int) -> Sequence[str]:
        """Give the command that serves the batch as a file, without TLS."""
        return ["nghttpd", "--no-tls", "-w", "30", "-W", "30", "-d", str(self.directory), str(port)]

    async def open(self) -> None:
        """Write the batch that is sent and served, and the empty answer to an upload."""
        await super().open()
        (self.directory / "batch").write_bytes(next(self.batches(1)).payload)
        (self.directory / "empty").write_bytes(b"")

    def _run(self, path: str, *options: str) -> Moved:
        flight = str(self.conditions.in_flight)
        seconds, failed = h2load(
            f"http://127.0.0.1:{self.port}/{path}", self._requests, "-m", flight, *options
        )
        if failed:
            raise RuntimeError(f"{failed} requests failed")
        size = (self.directory / "batch").stat().st_size * self._requests
        return {"lines": self._requests * self.lines_per_call, "bytes": size, "seconds": seconds}

    async def push(self, lines: int) -> Moved:
        """Upload the batch again and again."""
        self._requests = max(1, -(-lines // self.lines_per_call))
        return self._run("empty", "-d", str(self.directory / "batch"))

    async def pull(self) -> Moved:
        """Download the batch as often."""
        return self._run("batch")


class CeilingPython(Peer):
    """Bare protocols on uvloop that send and receive the same bytes over one socket."""

    name = "ceiling Python"
    about = "a bare uvloop protocol that sends and receives the same bytes"
    client = "bare uvloop protocol"
    settings = "no HTTP, receive buffers of 1 MiB"

    def __init__(self, directory: str, port: int = 0, **conditions: Any) -> None:
        """Prepare one half; see `Peer`."""
        super().__init__(directory, port, **conditions)
        self._pushed = [0, 0, 0]

    def command(self, port: int) -> Sequence[str]:
        """Give the command that serves."""
        return python("-m", "benchmarks.peers.raw", str(port))

    async def _connect(self) -> tuple[asyncio.WriteTransport, Counter]:
        loop = asyncio.get_running_loop()
        return await loop.create_connection(Counter, "127.0.0.1", self.port)

    async def push(self, lines: int) -> Moved:
        """Send the batches; the server says a byte when it has counted them all."""
        batches = list(self.batches(lines))
        size = sum(len(batch.payload) for batch in batches)
        transport, counter = await self._connect()
        started = time.perf_counter()
        transport.write(HEAD.pack(b"U", size, 0))
        for batch in batches:
            transport.write(batch.payload)
            await counter.writable.wait()
        await counter.received(1)
        self._pushed = [sum(batch.lines for batch in batches), size, len(batches)]
        moved = timed(started, *self._pushed[:2])
        transport.close()
        return moved

    async def pull(self) -> Moved:
        """Have the server send as many bytes, in as many writes."""
        lines, size, count = self._pushed
        transport, counter = await self._connect()
        started = time.perf_counter()
        transport.write(HEAD.pack(b"D", size // count, count))
        await counter.received(size // count * count)
        moved = timed(started, lines, size)
        transport.close()
        return moved


class FilePeer(Peer):
    """A contender without a server."""

    can_pull = False

    def command(self, port: int) -> Sequence[str]:
        """Give no command: there is no server."""
        del port
        return ()


class Append(FilePeer):
    """The same batches appended to a file, each synced."""

    name = "append"
    about = "write + fdatasync of the same batches to a plain file"
    client = "os.write"
    tuned: ClassVar[Mapping[str, Any]] = {"in_flight": 1, "connections": 0, "fsync": "always"}

    async def push(self, lines: int) -> Moved:
        """Append and sync batch after batch to a new file."""
        batches = list(self.batches(lines))
        path = self.directory / "append"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            started = time.perf_counter()
            for batch in batches:
                os.write(handle, batch.payload)
                os.fdatasync(handle)
            moved = timed(
                started, sum(b.lines for b in batches), sum(len(b.payload) for b in batches)
            )
        finally:
            os.close(handle)
            path.unlink()
        return moved


class Cp(FilePeer):
    """A copy of a file that holds the same lines."""

    name = "cp"
    about = "cp --reflink=never of a file with the same lines"
    client = "cp"
    tuned: ClassVar[Mapping[str, Any]] = {"in_flight": 1, "connections": 0}

    async def push(self, lines: int) -> Moved:
        """Write the file, then copy it; only the copy is measured."""
        batches = list(self.batches(lines))
        source, copy = self.directory / "source", self.directory / "copy"
        source.write_bytes(b"".join(batch.payload for batch in batches))
        try:
            started = time.perf_counter()
            # Blocking is what this driver is for: nothing else runs in its process.
            subprocess.run(  # noqa: ASYNC221
                ["cp", "--reflink=never", source, copy], check=True, timeout=60
            )
            return timed(started, sum(b.lines for b in batches), source.stat().st_size)
        finally:
            source.unlink()
            copy.unlink(missing_ok=True)
