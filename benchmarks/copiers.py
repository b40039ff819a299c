"""File → queue → file without `batchq copy`: through redis, and a request a line.

Each side is a program as `batchq copy` is one: it reads or writes a real file, and ends by
printing the xxh3-128 digest of what it moved.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import redis
import xxhash

from benchmarks.peers.http import own_transport
from benchmarks.peers.redis import LINES_PER_CALL

READ_BYTES = 1024 * 1024
IN_FLIGHT = 32


def redis_write(path: Path, port: int, key: str) -> str:
    """RPUSH a file's lines, 10,000 a call; return the digest."""
    digest = xxhash.xxh3_128()
    client = redis.Redis(port=port, socket_timeout=60)
    for lines in _calls(path, digest):
        client.rpush(key, *lines)
    return digest.hexdigest()


def _calls(path: Path, digest: xxhash.xxh3_128) -> Iterator[list[bytes]]:
    pending: list[bytes] = []
    rest = b""
    with path.open("rb") as source:
        while piece := source.read(READ_BYTES):
            digest.update(piece)
            *lines, rest = (rest + piece).split(b"\n")
            pending += lines
            while len(pending) >= LINES_PER_CALL:
                yield pending[:LINES_PER_CALL]
                pending = pending[LINES_PER_CALL:]
    if pending:
        yield pending


def redis_read(path: Path, port: int, key: str, lines: int) -> str:
    """Take so many lines off a list into a file, 10,000 a call; return the digest."""
    digest = xxhash.xxh3_128()
    client = redis.Redis(port=port, socket_timeout=60)
    with path.open("wb") as destination:
        while lines > 0:
            answer = client.blmpop(10, 1, key, direction="LEFT", count=LINES_PER_CALL)
            if not answer:
                raise TimeoutError(f"{lines} lines did not come")
            values: Any = answer[1]
            payload = b"\n".join(values) + b"\n"
            digest.update(payload)
            destination.write(payload)
            lines -= len(values)
    return digest.hexdigest()


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=own_transport(), base_url=f"http://127.0.0.1:{port}", timeout=httpx.Timeout(60)
    )


def _lines(path: Path) -> list[bytes]:
    return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]]


def _write(path: Path, payload: bytes) -> None:
    path.write_bytes(payload)


async def line_write(path: Path, port: int, queue: str) -> str:
    """Push a file line by line, numbered so that the order holds; return the digest."""
    digest = xxhash.xxh3_128()
    lines = _lines(path)
    numbered = iter(enumerate(lines))
    async with _client(port) as client:

        async def work() -> None:
            for number, line in numbered:
                headers = {
                    "Producer-Id": "one-line",
                    "Producer-Epoch": "0",
                    "Producer-Seq": str(number),
                }
                answer = await client.post(f"/push/{queue}", content=line, headers=headers)
                answer.raise_for_status()

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    for line in lines:
        digest.update(line)
    return digest.hexdigest()


async def line_read(path: Path, port: int, queue: str, lines: int) -> str:
    """Pull so many lines one by one and write them in offset order; return the digest."""
    got: dict[int, bytes] = {}
    async with _client(port) as client:

        async def work() -> None:
            while len(got) < lines:
                answer = await client.post(f"/pull/{queue}?max=1&wait=0.2")
                answer.raise_for_status()
                if answer.status_code == 200:
                    got[int(answer.headers["Batch-Offset"])] = answer.content

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    payload = b"".join(got[offset] for offset in sorted(got))
    _write(path, payload)
    return xxhash.xxh3_128(payload).hexdigest()


def main() -> None:
    """Run `PROGRAM FILE PORT NAME [LINES]`."""
    program, path, port, name, *lines = sys.argv[1:]
    file, number, count = Path(path), int(port), int(lines[0]) if lines else 0
    if program == "redis-write":
        print(redis_write(file, number, name))
    elif program == "redis-read":
        print(redis_read(file, number, name, count))
    elif program == "line-write":
        print(asyncio.run(line_write(file, number, name)))
    else:
        print(asyncio.run(line_read(file, number, name, count)))


if __name__ == "__main__":
    main()
