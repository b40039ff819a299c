"""Copies are byte-identical, whatever the bytes, through a real server."""

from __future__ import annotations

import asyncio
import json
import sysconfig
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.copies import batchq, said
from support.line_cases import LINE_CASES, LineCase
from support.servers import ServerProcess

from batchq_client.copy import (
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
    relay,
    write_queue,
)

PIECES = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b"\0", b"\xff", b"a", b"line\n", b"x" * 300]),
    st.binary(max_size=40),
)


def fresh(url: str) -> QueueAddress:
    return QueueAddress(url, uuid4().hex)


async def there_and_back(
    url: str, folder: Path, data: bytes, options: CopyOptions
) -> tuple[bytes, Summary, Summary]:
    """Copies bytes into a queue, to another queue and out, all three at once."""
    source, destination = folder / "source", folder / "destination"
    source.write_bytes(data)
    first, second = fresh(url), fresh(url)
    written, passed, got = (Summary("", "") for _ in range(3))
    await asyncio.gather(
        write_queue(PathAddress(source), first, options, Progress(), written),
        relay(first, second, options, Progress(), passed),
        read_queue(second, PathAddress(destination), options, Progress(), got),
    )
    assert passed.digest == written.digest == got.digest
    return destination.read_bytes(), written, got


@pytest.mark.parametrize("case", LINE_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("batch_bytes", [1, 8, 2**20])
async def test_cases(
    server: ServerProcess, tmp_path: Path, case: LineCase, batch_bytes: int
) -> None:
    options = CopyOptions(batch_bytes=batch_bytes, wait=0.5)
    data, written, got = await there_and_back(server.url, tmp_path, case.data, options)
    assert data == case.data
    assert (written.lines, got.lines) == (case.lines, case.lines)
    assert (written.bytes, got.bytes) == (len(data), len(data))
    assert got.digest_compared
    assert got.unterminated == bool(data and not data.endswith(b"\n"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.lists(PIECES, max_size=40).map(b"".join),
    write_bytes=st.integers(1, 700),
    read_bytes=st.integers(1, 700),
    in_flight=st.integers(1, 20),
)
def test_any_bytes_and_cuts(
    server: ServerProcess,
    tmp_path: Path,
    data: bytes,
    write_bytes: int,
    read_bytes: int,
    in_flight: int,
) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.write_bytes(data)
    queue = fresh(server.url)

    async def both() -> None:
        writing = CopyOptions(batch_bytes=write_bytes, in_flight=in_flight)
        reading = CopyOptions(batch_bytes=read_bytes, in_flight=in_flight, wait=2)
        await asyncio.gather(
            write_queue(PathAddress(source), queue, writing, Progress(), Summary("", "")),
            read_queue(queue, PathAddress(destination), reading, Progress(), Summary("", "")),
        )

    asyncio.run(both())
    assert destination.read_bytes() == data


def test_a_line_of_many_megabytes(server: ServerProcess, tmp_path: Path) -> None:
    source, destination = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"a\n" + b"x" * 20_000_000 + b"\nb\n" + b"y" * 3_000_000)
    queue = fresh(server.url)
    assert batchq("copy", source, queue).returncode == 0
    assert batchq("copy", queue, destination).returncode == 0
    assert destination.read_bytes() == source.read_bytes()


def test_a_real_text_file_of_over_100_mb(tmp_path: Path) -> None:
    source, destination = tmp_path / "s", tmp_path / "d"
    texts = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    text = b"".join(path.read_bytes() for path in texts)
    with source.open("wb") as file:
        while file.tell() <= 100_000_000:
            file.write(text)
    size = source.stat().st_size
    done = batchq("copy", "--json", source, destination)
    assert done.returncode == 0, said(done)
    summary = json.loads(done.stdout)
    # Every byte went through the server: its own counters say so.
    assert summary["server"]["bytes"] in (size, size + 1)
    assert summary["server"]["lines"] == summary["lines"]
    assert summary["digest_compared"]
    with source.open("rb") as one, destination.open("rb") as other:
        while block := one.read(2**20):
            assert other.read(2**20) == block
        assert other.read(1) == b""
