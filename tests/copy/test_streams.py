"""Standard input and output, pipes, signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from support.copies import batchq, said, start, until_filled
from support.servers import ServerProcess

from batchq_client import Client, End, Pulled

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def queue(server: ServerProcess) -> str:
    return f"{server.url}/{uuid4().hex}"


@pytest.fixture
def begin() -> Iterator[Start]:
    """Starts commands; those that still run are killed after the test."""
    with ExitStack() as stack:

        def begun(*arguments: object) -> subprocess.Popen[bytes]:
            process = stack.enter_context(start(*arguments))
            stack.callback(process.kill)
            return process

        yield begun


def send(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err.decode()


async def take(client: Client, name: str) -> bytes:
    answer = await client.pull(name, wait=30)
    assert isinstance(answer, Pulled)
    return answer.data


async def test_a_slow_input_arrives_line_by_line(server: ServerProcess, begin: Start) -> None:
    name = uuid4().hex
    process = begin("copy", "-", f"{server.url}/{name}")
    async with Client(server.url) as client:
        for line in (b"one\n", b"two\n", b"three\nfour\n"):
            await asyncio.to_thread(send, process, line)
            assert await take(client, name) == line, "it came while the input stays open"
        await asyncio.to_thread(send, process, b"fi")
        await asyncio.to_thread(send, process, b"ve\nlast")
        assert await take(client, name) == b"five\n"
        assert (await asyncio.to_thread(ended, process))[0] == 0
        assert await take(client, name) == b"last\n"
        end = await client.pull(name)
    assert isinstance(end, End)
    assert (end.lines, end.unterminated) == (6, True)


async def test_a_live_output_gets_whole_lines(server: ServerProcess, begin: Start) -> None:
    name = uuid4().hex
    process = begin("copy", f"{server.url}/{name}", "-")
    assert process.stdout is not None
    async with Client(server.url) as client:
        for line in (b"one\n", b"two\n"):
            await client.push(name, line)
            assert await asyncio.to_thread(process.stdout.readline) == line
        await client.close(name)
        code, rest, err = await asyncio.to_thread(ended, process)
    assert (code, rest, err) == (0, b"", "")


@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\nb\n", b"a\r\n\0\xff", b"x" * 3_000_000])
def test_through_pipes(queue: str, data: bytes) -> None:
    done = batchq("copy", "-", queue, input=data)
    assert (done.returncode, said(done)) == (0, "")
    done = batchq("copy", queue, "-")
    assert (done.returncode, said(done), done.stdout) == (0, "", data)


def test_from_pipe_to_pipe() -> None:
    data = b"a\nb\0\n" * 1000 + b"end"
    done = batchq("copy", "--json", "-", "-", input=data)
    assert (done.returncode, done.stdout) == (0, data)
    assert json.loads(done.stderr)["server"]["lines"] == 2001


def test_a_newline_that_can_not_be_taken_back(queue: str, begin: Start) -> None:
    base, _, name = queue.rpartition("/")
    httpx.post(f"{base}/push/{name}", content=b"a")
    process = begin("copy", "--linger", "0", queue, "-")
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    httpx.post(f"{base}/close/{name}", json={"unterminated": True})
    code, _, err = ended(process)
    assert code == 4
    assert "newline" in err


def test_standard_input_that_is_a_file(queue: str, tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.write_bytes(b"skipped\nkept\n")
    with source.open("rb") as stdin:
        os.lseek(stdin.fileno(), 8, os.SEEK_SET)
        with start("copy", "-", queue, stdin=stdin) as process:
            assert ended(process)[0] == 0
    assert batchq("copy", queue, "-").stdout == b"kept\n"


def test_named_pipes(queue: str, tmp_path: Path, begin: Start) -> None:
    into, out = tmp_path / "in", tmp_path / "out"
    os.mkfifo(into)
    os.mkfifo(out)
    writer, reader = begin("copy", into, queue), begin("copy", queue, out)
    into.write_bytes(b"through\npipes")
    assert out.read_bytes() == b"through\npipes"
    assert ended(writer)[0] == ended(reader)[0] == 0


def test_whoever_reads_leaves(server: ServerProcess, queue: str, begin: Start) -> None:
    assert batchq("copy", "-", queue, input=b"0123456\n" * 1_000_000).returncode == 0
    process = begin("copy", queue, "-")
    assert process.stdout is not None
    process.stdout.read(100)
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None
    err = process.stderr.read().decode()
    assert err == ""


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
class TestSignals:
    async def test_a_writer(
        self, server: ServerProcess, begin: Start, number: signal.Signals, code: int, text: str
    ) -> None:
        name = uuid4().hex
        process = begin("copy", "-", f"{server.url}/{name}")
        async with Client(server.url) as client:
            await asyncio.to_thread(send, process, b"a\n")
            assert await take(client, name) == b"a\n"
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 30) == code
            assert process.stderr is not None
            assert process.stderr.read().decode() == f"batchq: {text}\n"
            assert not (await client.queue(name)).closed

    async def test_a_reader(
        self,
        server: ServerProcess,
        begin: Start,
        tmp_path: Path,
        number: signal.Signals,
        code: int,
        text: str,
    ) -> None:
        name, target = uuid4().hex, tmp_path / "d"
        target.write_bytes(b"old")
        async with Client(server.url) as client:
            await client.push(name, b"a\n")
            process = begin("copy", f"{server.url}/{name}", target)
            part = tmp_path / "d.part"
            await asyncio.to_thread(until_filled, part, process)
        process.send_signal(number)
        ending = await asyncio.to_thread(ended, process)
        assert ending == (code, b"", f"batchq: {text}; what came is in {part}\n")
        assert target.read_bytes() == b"old"
        assert part.read_bytes() == b"a\n"

    def test_a_local_copy(
        self, begin: Start, tmp_path: Path, number: signal.Signals, code: int, text: str
    ) -> None:
        process = begin("copy", "-", tmp_path / "d")
        send(process, b"a\n")
        part = tmp_path / "d.part"
        # Its server is there once the line has come through it.
        until_filled(part, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.send_signal(number)
        got, _, err = ended(process)
        assert got == code
        assert err.startswith(f"batchq: {text}")
        assert err.count("\n") == 1
        assert not (tmp_path / "d").exists()
        assert not Path(f"/proc/{children[0]}").exists(), "its server is stopped"


def test_two_copies_to_one_place(queue: str, tmp_path: Path, begin: Start) -> None:
    target = tmp_path / "d"
    base, _, name = queue.rpartition("/")
    httpx.post(f"{base}/push/{name}", content=b"a")
    first = begin("copy", queue, target)
    until_filled(tmp_path / "d.part", first)
    second = batchq("copy", "--wait", "0.05", queue, target)
    assert second.returncode == 2
    assert "another copy is writing" in said(second)


def test_generate() -> None:
    assert batchq("generate", 0).stdout == b""
    assert batchq("generate", 3).stdout == b"1\n2\n3\n"
    assert batchq("generate", "--start", 0, 2).stdout == b"0\n1\n"
    text = batchq("generate", 250_001).stdout
    assert text == b"".join(b"%d\n" % n for n in range(1, 250_002))


@pytest.mark.parametrize("number", ["-1", "x", "", "1.5", "9" * 30])
def test_generate_a_bad_number(number: str) -> None:
    done = batchq("generate", "--", number)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_generate_for_a_reader_that_leaves(begin: Start) -> None:
    process = begin("generate", 100_000_000)
    assert process.stdout is not None
    assert process.stdout.read(4) == b"1\n2\n"
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None
    err = process.stderr.read().decode()
    assert err == ""
