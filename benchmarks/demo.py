"""``make demo``: a real file of over a million lines, through a server and back, compared.

Starts ``batchq server`` as a process of its own and two ``batchq copy`` at once, one that
writes the file into a queue and one that reads the queue into another file.
"""

from __future__ import annotations

import filecmp
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINES: Final = 1_000_000
_BATCHQ: Final = (sys.executable, "-m", "batchq")
_ANNOUNCEMENT: Final = "batchq listening on "
_TIME_LIMIT: Final = 120.0
"""Seconds after which a copy is given up: it takes one or two."""


def make_file(path: Path, lines: int = _LINES) -> int:
    """Joins the .py files of the interpreter and the environment, again and again.

    Args:
        path: where to.
        lines: at least this many.

    Returns:
        How many lines it has.
    """
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}
    sources = sorted({source for folder in folders for source in Path(folder).rglob("*.py")})
    written = 0
    with path.open("wb") as out:
        while written < lines:
            for source in sources:
                text = source.read_bytes()
                if text and not text.endswith(b"\n"):
                    text += b"\n"
                out.write(text)
                written += text.count(b"\n")
                if written >= lines:
                    break
    return written


@contextmanager
def _server() -> Iterator[str]:
    """Runs a server on a free port of the loopback; gives its URL."""
    command = [*_BATCHQ, "server", "--port", "0", "--store", "memory:"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line.startswith(_ANNOUNCEMENT):
                raise RuntimeError(f"the server did not start: {line!r}")
            yield line.removeprefix(_ANNOUNCEMENT).split()[0]
        finally:
            process.terminate()


def main() -> int:
    """Runs the demo; gives the exit code."""
    with tempfile.TemporaryDirectory(prefix="batchq-demo-") as name, _server() as url:
        folder = Path(name)
        source, copied = folder / "source.txt", folder / "copied.txt"
        lines = make_file(source)
        size = source.stat().st_size
        print(f"a file of {lines:,} lines, {size / 1e6:.1f} MB")
        queue = f"{url}/demo"
        print(f"batchq copy source.txt {queue}")
        print(f"batchq copy {queue} copied.txt")
        start = time.perf_counter()
        copy = [*_BATCHQ, "copy", "--quiet"]
        copies = [
            subprocess.Popen([*copy, str(source), queue]),
            subprocess.Popen([*copy, queue, str(copied)]),
        ]
        codes = [process.wait(timeout=_TIME_LIMIT) for process in copies]
        seconds = time.perf_counter() - start
        if any(codes):
            print(f"failed: exit codes {codes}")
            return 1
        if not filecmp.cmp(source, copied, shallow=False):
            print("failed: the copy differs")
            return 1
        print(
            f"identical after {seconds:.2f} s, both commands' start included: "
            f"{lines / seconds:,.0f} lines/s, {size / seconds / 1e6:.0f} MB/s"
        )
        return 0


if __name__ == "__main__":
    sys.exit(main())
