"""A server of one's own for a local copy: a process on a free port of the loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from batchq_client.copy import CopyError

_ANNOUNCED: Final = "batchq listening on "
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0

# -P: the modules of this process, not those that happen to lie in the current folder.
_COMMAND: Final = ("-P", "-m", "batchq.cli.attached", "server", "--log-level", "error")
_FLAGS: Final = ("--host", "127.0.0.1", "--port", "0", "--store", "memory:", "--max-body", "1GiB")
"""Its lines may be as long as its queue may hold: nobody can set its flags."""


async def with_local_server(work: Callable[[str], Awaitable[None]]) -> None:
    """Runs ``batchq server`` for as long as the work takes, which is given its URL.

    It is stopped whatever happens, and ends by itself when this process does. Of the
    environment's ``BATCHQ_…`` it sees nothing: they are meant for the copy, or for servers
    that others reach.

    Raises:
        CopyError: it does not start, or it ended before the work did, which is stopped then.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *_COMMAND,
        *_FLAGS,
        # Nothing is written to it: it closes when this process is gone.
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=_environment(),
        # Not in the terminal's process group: Ctrl-C is for the copy, which stops it.
        start_new_session=True,
    )
    try:
        url = await _url(process)
        await _while_alive(process, work(url))
    finally:
        await _stop(process)


def _environment() -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("BATCHQ_")}
    return {**others, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


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


async def _while_alive(process: asyncio.subprocess.Process, work: Awaitable[None]) -> None:
    """Does the work, and stops it when the server ends: nothing can come of it any more."""
    task = asyncio.current_task()
    died = False

    async def watch() -> None:
        nonlocal died
        await process.wait()
        died = True
        if task is not None:
            task.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        await work
    except asyncio.CancelledError as error:
        if not died or (task is not None and task.uncancel()):
            raise
        failed = CopyError(f"the local server ended before the copy: {_how(process.returncode)}")
        for note in getattr(error, "__notes__", ()):
            failed.add_note(note)
        raise failed from None
    finally:
        watching.cancel()


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


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
