"""What a push costs beside the protocol: memory from the kernel, and counting lines."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import numpy as np
import pytest
from http2.h2_support import on_and_off

from batchq import lines

ROUNDS, BODIES, BODY = 50, 8, 1024 * 1024
PAGES = ROUNDS * BODIES * BODY // resource.getpagesize()

FAULTS = f"""
import resource, sys
from batchq.cli.allocator import keep_freed_memory

def bodies():
    return [b"x" * {BODY} for _ in range({BODIES})]

if sys.argv[1] == "True":
    keep_freed_memory()
bodies()  # what is kept afterwards, it has been given
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    bodies()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@on_and_off
def test_freed_memory_is_used_again(cured: bool) -> None:
    """Without the cure the kernel gives bodies that are held together page by page again."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, str(cured)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    faults = int(done.stdout)
    if platform.libc_ver()[0] == "glibc":  # elsewhere there is no mallopt, and no harm done
        # The kernel may give several pages at a fault, and glibc keeps a part in any case.
        assert (faults < PAGES // 8) is cured


@on_and_off
def test_the_lines_of_a_large_payload_are_counted_by_numpy(
    cured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cured:
        monkeypatch.setattr(lines, "_FEW", sys.maxsize)
    counted = []
    count_nonzero = np.count_nonzero

    def counting(found: np.ndarray) -> int:
        counted.append(len(found))
        return int(count_nonzero(found))

    monkeypatch.setattr(np, "count_nonzero", counting)
    payload = b"line\n" * 100_000
    assert lines.count(payload) == 100_000
    assert counted == ([len(payload)] if cured else [])
