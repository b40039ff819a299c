"""What a run was measured on, so that nobody compares figures of two machines by mistake."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ["batchq", "hypercorn", "quart", "httpx", "httpcore", "h2", "uvloop"]
PACKAGES += ["redis", "hiredis", "nats-py", "xxhash", "apsw", "numpy"]
PROGRAMS = {
    "redis-server": ["redis-server", "--version"],
    "nats-server": ["nats-server", "--version"],
    "nghttpd": ["nghttpd", "--version"],
    "h2load": ["h2load", "--version"],
    "curl": ["curl", "--version"],
}

MEASURED = ("benchmarks/results/", "docs/benchmarks/")
"""What a run writes."""


def cpu_model() -> str:
    """Read the processor's name; `unknown` where the kernel does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def package_versions() -> dict[str, str]:
    """List the installed versions of the packages that take part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def program_versions() -> dict[str, str]:
    """List the first line that each peer's program says about its version."""
    found = {}
    for name, command in PROGRAMS.items():
        if shutil.which(name) is None:
            continue
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        text = (run.stdout or run.stderr).strip()
        if text:
            found[name] = text.splitlines()[0][:80]
    return found


def source() -> str:
    """Name the commit that is measured, and whether files differ from it; empty if unknown."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        told = [
            subprocess.run([*git, *words], capture_output=True, text=True, timeout=10, check=True)
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "-uno"))
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    commit, changed = (run.stdout.strip() for run in told)
    # A run writes results and pages: those are no change of what is measured.
    others = [line for line in changed.splitlines() if not line[3:].startswith(MEASURED)]
    return f"commit {commit}" + (" with changes" if others else "")


def load_average() -> list[float]:
    """Tell how many processes wanted a core of late: over 1, 5 and 15 minutes."""
    return [round(value, 1) for value in os.getloadavg()]


def describe() -> dict[str, object]:
    """Describe this machine: processor, cores, memory, kernel, Python, versions."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": load_average(),
        "source": source(),
        "packages": package_versions(),
        "programs": program_versions(),
    }
