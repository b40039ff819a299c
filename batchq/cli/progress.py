"""Shows how a copy goes on, on stderr, where that is a terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from batchq_client.copy import Progress

_INTERVAL: Final = 0.2
"""Seconds between two looks at the counters."""


@asynccontextmanager
async def shown(progress: Progress, title: str, *, quiet: bool) -> AsyncIterator[None]:
    """Shows the progress for the length of the block: bytes, lines, lines/s, time left.

    Args:
        progress: what to show.
        title: of the copy.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    showing = asyncio.ensure_future(_show(progress, title))
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _show(progress: Progress, title: str) -> None:
    # Imported here: most copies are scripts, and this takes as long as a small copy.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar  # noqa: PLC0415

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[lines]:,} lines, {task.fields[rate]:,.0f} lines/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
    )
    loop = asyncio.get_running_loop()
    start = loop.time()
    with bar:
        task = bar.add_task(title, total=None, lines=0, rate=0.0)
        while True:
            seconds = max(loop.time() - start, _INTERVAL)
            bar.update(
                task,
                completed=progress.bytes,
                total=progress.total_bytes,
                lines=progress.lines,
                rate=progress.lines / seconds,
            )
            bar.refresh()
            await asyncio.sleep(_INTERVAL)
