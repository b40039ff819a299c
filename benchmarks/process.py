"""Processes of a run: pinned to a core, bounded in time, stopped by their pid.

On two cores or more a server runs on the first and the load on the second, so that
neither steals time from the other; on one core nothing is pinned.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

SERVER, LOAD = 0, 1
START_TIMEOUT = 15.0
STOP_TIMEOUT = 5.0
PR_SET_PDEATHSIG = 1
ALL_CORES = sorted(os.sched_getaffinity(0))


class ProcessError(RuntimeError):
    """A process of the run did not start, ended early or took too long."""


def core(role: int) -> int | None:
    """Name the core for a role, or None where there are fewer than two."""
    return ALL_CORES[role] if len(ALL_CORES) > 1 else None


def _enter(role: int) -> None:
    """Set up a child before it runs: its core, and its end with its parent's."""
    # Without this a harness that is killed would leave servers behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    chosen = core(role)
    if chosen is not None:
        os.sched_setaffinity(0, {chosen})


def spawn(
    command: Sequence[str],
    role: int,
    log: Path,
    *,
    pipes: bool = False,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process on its role's core; what it says on stderr goes to `log`.

    Args:
        command: The program and its arguments.
        role: `SERVER` or `LOAD`.
        log: The file that takes stderr (and stdout, without pipes).
        pipes: Whether stdin and stdout are pipes to the caller.
        env: Variables added to the environment.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else output,
            stderr=output,
            env={**os.environ, **(env or {})},
            preexec_fn=lambda: _enter(role),  # noqa: PLW1509 - no threads in the harness
        )


def stop(process: subprocess.Popen[bytes], timeout: float = STOP_TIMEOUT) -> None:
    """End a process: SIGTERM, then SIGKILL after `timeout` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def free_port() -> int:
    """Ask the kernel for a TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the process accepts connections.

    Raises:
        ProcessError: It ended, or did not listen within `START_TIMEOUT` seconds.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    stop(process)
    tail = log.read_bytes()[-800:].decode(errors="replace")
    raise ProcessError(f"{process.args!r} does not listen on port {port}: {tail}")


def read_line(pipe: IO[bytes], timeout: float) -> bytes:
    """Read one line from a pipe; empty when it ended.

    Raises:
        ProcessError: No whole line came within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    line = bytearray()
    while not line.endswith(b"\n"):
        left = max(0.0, deadline - time.monotonic())
        if not select.select([pipe], [], [], left)[0]:
            raise ProcessError(f"no answer in {timeout:.0f} s")
        piece = os.read(pipe.fileno(), 65536)
        if not piece:
            break
        line += piece
    return bytes(line)


def memory_kib(pid: int, field: str) -> int:
    """Read a size in KiB from `/proc/PID/status`: `VmRSS` now, `VmHWM` its peak.

    Raises:
        ProcessError: The process has no such field (it has ended).
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise ProcessError(f"process {pid} tells no {field}")


def cpu_seconds(pid: int) -> float:
    """Tell how much processor time a process has used so far, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # utime and stime, counted from the state, which is the first behind the name.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
