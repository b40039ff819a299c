"""The real curl."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

VERSIONS = {
    "http1": ("--http1.1",),
    "http2": ("--http2-prior-knowledge",),
}
"""curl's flags for the protocols of a port without TLS."""


@dataclass(frozen=True, slots=True)
class Curled:
    """An answer as curl printed it.

    Attributes:
        version: "1.1" or "2".
        status: the HTTP status.
        headers: by lower-case name.
        body: the bytes.
    """

    version: str
    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def started_curl(
    *arguments: str, stdin: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """curl while it runs: silent, at most 60 seconds, gone after the block."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "60", *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def curl(*arguments: str, stdin: bytes | None = None) -> Curled:
    """Runs curl to its end and reads the final answer."""
    pipe = asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE
    async with started_curl("-i", *arguments, stdin=pipe) as process:
        output, errors = await process.communicate(stdin)
    assert process.returncode == 0, errors
    while True:
        head, _, output = output.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        version, code = status.split(" ")[:2]
        if int(code) >= 200:
            break
    headers = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip()
    return Curled(version.removeprefix("HTTP/"), int(code), headers, output)


def file_with(directory: Path, data: bytes) -> str:
    """A file for ``--data-binary @…``."""
    path = directory / "lines"
    path.write_bytes(data)
    return f"@{path}"
