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

_GAP: Final = "  "

_TITLE: Final = 8
"""Columns that a title has at the least; where there are fewer, it is left out."""


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
        # A terminal that is gone takes no picture, and that does not fail the copy.
        with suppress(asyncio.CancelledError, OSError):
            await showing


async def _show(progress: Progress, title: str) -> None:
    # Imported here: most copies are scripts, and this takes as long as a small copy.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True)
    loop = asyncio.get_running_loop()
    start, lines, size = loop.time(), progress.lines, progress.bytes
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            seconds = max(loop.time() - start, _INTERVAL)
            speeds = (progress.lines - lines) / seconds, (progress.bytes - size) / seconds
            # The last column is left alone: many a terminal wraps there.
            line = _line(title, _figures(progress, *speeds), console.width - 1)
            live.update(Text(line, no_wrap=True, overflow="crop"), refresh=True)
            await asyncio.sleep(_INTERVAL)


def _line(title: str, figures: str, width: int) -> str:
    """The figures, and the title as far as there is room for it."""
    room = width - len(figures) - len(_GAP)
    return f"{shortened(title, room)}{_GAP}{figures}" if room >= _TITLE else figures


def _figures(progress: Progress, lines_speed: float, bytes_speed: float) -> str:
    """What is done, how fast, and how long the rest takes; speeds are per second."""
    from rich.filesize import decimal  # noqa: PLC0415

    size, total = decimal(progress.bytes), progress.total_bytes
    figures = [
        size if total is None else f"{size}/{decimal(total)}",
        f"{progress.lines:,} lines",
        f"{lines_speed:,.0f} lines/s",
    ]
    if total is not None and bytes_speed > 0:
        left = max(0, total - progress.bytes) / bytes_speed
        figures.append(f"{_clock(left)} left")
    return _GAP.join(figures)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def shortened(text: str, width: int) -> str:
    """A text that takes at most so many columns: what is too much is left out in its middle.

    What is no character to look at, such as an escape sequence in a file's name, is a question
    mark.

    Args:
        text: one line.
        width: columns, at least 1.
    """
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

    text = "".join(char if char.isprintable() else "?" for char in text)
    if cell_len(text) <= width:
        return text
    front = set_cell_size(text, width // 2)
    back = set_cell_size(text[::-1], width - 1 - width // 2)[::-1]
    return f"{front}…{back}"
