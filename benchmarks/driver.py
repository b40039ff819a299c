"""The load's side of a run: one object in a process of its own, told what to do by lines.

`Driver` is the harness's handle; `python -m benchmarks.driver MODULE:CLASS` is the
process. Each line on stdin is a JSON call `{"do": METHOD, "with": {…}}`, each line on stdout its
answer. The seconds of a call are measured here, next to the work, so the pipe costs nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks import process

CALL_TIMEOUT = 90.0


class DriverError(RuntimeError):
    """A call failed in the driver's process; the message is what was raised there."""


class Driver:
    """An object in another process whose methods the harness calls, one at a time."""

    def __init__(self, target: str, arguments: dict[str, Any], log: Path) -> None:
        """Start the process.

        Args:
            target: `module:class` of the object.
            arguments: Keyword arguments for the class, as JSON values.
            log: The file that takes the process's stderr.
        """
        self.target = target
        command = [sys.executable, "-m", "benchmarks.driver", target, json.dumps(arguments)]
        self._process = process.spawn(command, process.LOAD, log, pipes=True)

    @property
    def pid(self) -> int:
        """The driver's process id."""
        return self._process.pid

    def call(self, method: str, timeout: float = CALL_TIMEOUT, **arguments: Any) -> Any:
        """Run a method there and return what it returns, as JSON values.

        Raises:
            DriverError: The method raised.
            ProcessError: It took longer than `timeout` seconds; the process is then killed.
        """
        self.send(method, **arguments)
        return self.receive(timeout)

    def send(self, method: str, **arguments: Any) -> None:
        """Start a call without waiting; `receive` gets its answer."""
        pipe = self._process.stdin
        if pipe is None or self._process.poll() is not None:
            raise process.ProcessError(f"{self.target}: the driver has ended")
        pipe.write(json.dumps({"do": method, "with": arguments}).encode() + b"\n")
        pipe.flush()

    def receive(self, timeout: float = CALL_TIMEOUT) -> Any:
        """Wait for the answer to the last call; see `call` for what it raises."""
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - spawned with pipes
        try:
            line = process.read_line(pipe, timeout)
        except process.ProcessError:
            self._process.kill()
            raise
        if not line:
            raise process.ProcessError(f"{self.target}: the driver has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise DriverError(f"{self.target}: {answer['error']}")
        return answer["value"]

    def stop(self) -> None:
        """End the process."""
        process.stop(self._process, timeout=2.0)


async def _serve(target: object) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        call = json.loads(line)
        answer: dict[str, object]
        try:
            value = getattr(target, call["do"])(**call["with"])
            answer = {"value": await value if inspect.isawaitable(value) else value}
        except Exception as error:  # noqa: BLE001 - reported to the harness, which raises it
            traceback.print_exc()
            answer = {"error": _describe(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _describe(error: BaseException) -> str:
    """Name an error; of a task group's, the first that was not caused by another's end."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def timed(started: float, lines: int, size: int) -> dict[str, float]:
    """Make the answer of a measured call: lines and payload bytes moved, and seconds."""
    return {"lines": lines, "bytes": size, "seconds": time.perf_counter() - started}


def main() -> None:
    """Serve one object until stdin ends."""
    module, _, name = sys.argv[1].partition(":")
    target = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
    try:
        runner = importlib.import_module("uvloop").run
    except ImportError:
        runner = asyncio.run
    runner(_serve(target))


if __name__ == "__main__":
    main()
