"""Where a batch ends within a block: found here, not in Redis.

Redis runs one script at a time, and looking for line ends in 1 MiB would hold up every
queue. The script gives the bytes in question, and compares before it takes.
"""

from __future__ import annotations

from typing import Any, Final

from batchq import lines

_WIDER: Final = 4
"""Where a window was too small, the next is so many times as large."""


def find_cut(header: dict[str, Any], window: bytes) -> tuple[int, int] | None:
    """Finds how many lines of a window, the beginning of a block's lines, a batch takes.

    Args:
        header: what ``lua/pull.lua`` says beside it: ``lines_left``, ``bytes_left``, ``first``
            (the batch has no line yet, and must have one), ``whole`` (all there is).
        window: the bytes.

    Returns:
        Lines and bytes, or None where the window is too small to tell.
    """
    size, lines_left, bytes_left = len(window), header["lines_left"], header["bytes_left"]
    stop = min(size, bytes_left)
    end = lines.find_end(window, lines_left, 0, stop)
    if end != -1:
        return lines_left, end
    if not (header["whole"] or size >= bytes_left):
        return None
    end = window.rfind(lines.NEWLINE, 0, stop) + 1
    if end:
        return lines.count(memoryview(window)[:end]), end
    if not header["first"]:
        return 0, 0
    end = window.find(lines.NEWLINE) + 1
    return (1, end) if end else None


def wider(window: bytes) -> int:
    """How large the next window should be."""
    return len(window) * _WIDER


def place(header: dict[str, Any], count: int, size: int) -> dict[str, Any]:
    """Makes the place that the script compares: ``A.cut``."""
    return {
        "life": header["id"],
        "start": header["start"],
        "offset": header["offset"] + count,
        "position": header["position"] + size,
        "block": header["block"],
        "from": header["position"],
    }
