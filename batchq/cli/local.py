"""A server of one's own for a local copy: a process on a free port of the loopback."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from batchq_client.copy import CopyError

_ANNOUNCED: Final = "batchq listening on "
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0

_FLAGS: Final = ("--host", "127.0.0.1", "--port", "0", "--store", "memory:", "--max-body", "1GiB")
"""Its lines may be as long as its queue may hold: nobody can set its flags."""


@asynccontextmanager
async def local_server() -> AsyncIterator[str]:
    """Runs ``batchq server`` for the length of the block; gives its URL.

    It is stopped whatever happens. Of the environment's ``BATCHQ_…`` it sees nothing: they
    are meant for the copy, or for servers that others reach.

    Raises:
        CopyError: it does not start.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "batchq", "server", *_FLAGS, "--log-level", "error"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("BATCHQ_")},
        # Not in the terminal's process group: Ctrl-C is for the copy, which stops it.
        start_new_session=True,
    )
    try:
        yield await _url(process)
    finally:
        await _stop(process)


async def _url(process: asyncio.subprocess.Process) -> str:
    line = b""
    if process.stdout is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                line = await process.stdout.readline()
    text = line.decode(errors="replace").strip()
    if not text.startswith(_ANNOUNCED):
        raise CopyError(f"the local server did not start: {text or 'it said nothing'}")
    return text.removeprefix(_ANNOUNCED)


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
