"""Has the C library's allocator keep the memory of bodies, where that is glibc's.

A body of a megabyte would otherwise be mapped afresh each time, and zeroed by the kernel
page by page: a third of a push's cost.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_MIB: Final = 1024 * 1024

# mallopt(3): parameter numbers of malloc.h, and values that suit bodies of a few megabytes.
_TRIM_THRESHOLD: Final = (-1, 256 * _MIB)  # give back only what is free beyond this
_TOP_PAD: Final = (-2, 16 * _MIB)  # grow in steps of this
_MMAP_THRESHOLD: Final = (-3, 32 * _MIB)  # the most that glibc takes: map only what is above


def keep_freed_memory() -> None:
    """Tunes the allocator of this process; does nothing where there is no ``mallopt``."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in (_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD):
            mallopt(parameter, value)
