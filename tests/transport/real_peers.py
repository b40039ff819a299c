"""Real servers, each on a free port of the loopback, each stopped by who started it."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.ports import free_port

START_PATIENCE = 20.0  # seconds


@asynccontextmanager
async def process(
    *command: str, cwd: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        await running.communicate()


async def listening(port: int, running: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_PATIENCE):
        while running.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return
    raise AssertionError("the server ended instead of listening")


@asynccontextmanager
async def nghttpd(*options: str, tls: tuple[Path, Path] | None = None) -> AsyncIterator[int]:
    """The C server of nghttp2; `tls` is key and certificate."""
    program = shutil.which("nghttpd") or "/usr/sbin/nghttpd"
    port = free_port()
    security = [str(part) for part in tls] if tls else []
    without = [] if tls else ["--no-tls"]
    command = [program, "-a", "127.0.0.1", *without, *options, str(port), *security]
    async with process(*command) as running:
        await listening(port, running)
        yield port


@asynccontextmanager
async def hypercorn(app: str, *options: str) -> AsyncIterator[int]:
    """Hypercorn in a process of its own; it chooses the port and says which."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "hypercorn", *options, "-b", "127.0.0.1:0", app]
    async with process(*command, cwd=here) as running:
        assert running.stderr
        async with asyncio.timeout(START_PATIENCE):
            while line := (await running.stderr.readline()).decode():
                if found := re.search(r"127\.0\.0\.1:(\d+)", line):
                    yield int(found[1])
                    return
        raise AssertionError("hypercorn did not start")
