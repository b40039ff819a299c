from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clients import client_of
from support.curl import VERSIONS, curl
from support.problems import problem_in
from support.servers import ANNOUNCED, ServerProcess

SIGNALS = [signal.SIGTERM, signal.SIGINT]
Make = Callable[..., ServerProcess]


def refused(*flags: str) -> tuple[int, str]:
    """Runs a server that can't start; gives its exit code and what it wrote."""
    done = subprocess.run(
        [sys.executable, "-m", "batchq", "server", *flags],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


async def test_it_tells_where_it_listens_and_what_it_promises(make_server: Make) -> None:
    server = make_server()
    async with client_of(server.url) as http:
        assert (await http.get("/readyz")).status_code == 200
    assert server.stop() == 0
    listening, promise = server.announced
    assert listening == f"{ANNOUNCED}{server.url}"
    assert "nothing but the process" in promise


async def test_a_signal_answers_stock_httpx_over_http2(make_server: Make) -> None:
    """Its h2 takes no frame after GOAWAY, so that the answer must come before it.

    One pull: of several on one connection, httpcore fails those that are not the one to read.
    """
    server = make_server()
    async with client_of(server.url) as aside, client_of(server.url) as http:
        await aside.post("/push/q", content=b"")
        waiting = asyncio.create_task(http.post("/pull/q?wait=60"))
        while (await aside.get("/queues/q")).json()["waiting_pulls"] < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await aside.aclose()
        server.send(signal.SIGTERM)
        assert (await waiting).status_code == 204
    assert server.wait() == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("version", sorted(VERSIONS))
async def test_a_signal_answers_what_waits_and_ends_it(
    make_server: Make, number: signal.Signals, version: str
) -> None:
    server = make_server()
    async with client_of(server.url) as http:
        await http.post("/push/q", content=b"")
        pull = (*VERSIONS[version], f"{server.url}/pull/q?wait=60")
        waiting = [asyncio.create_task(curl(*pull)) for _ in range(5)]
        # There is no event to wait for in another process.
        while (await http.get("/queues/q")).json()["waiting_pulls"] < len(waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        server.send(number)
        for answer in await asyncio.gather(*waiting):
            assert answer.status == 204
        assert await asyncio.to_thread(server.wait) == 0
    assert server.stderr == ""


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_second_signal_ends_it_at_once(make_server: Make, number: signal.Signals) -> None:
    server = make_server()
    host, port = server.url.rpartition("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    # A body that never comes holds the graceful end up.
    writer.write(b"POST /push/q HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
    writer.write(b"Expect: 100-continue\r\n\r\n")
    assert b" 100 " in await reader.readline()
    server.send(number)
    await closed_to_others(host, int(port))
    server.send(number)
    assert await asyncio.to_thread(server.wait) == 128 + number
    writer.close()


HANGING = """
import asyncio
import threading

from batchq.server import Listen, ServerSettings, run
from batchq.stores.memory import MemoryStore


class Hanging(MemoryStore):
    async def start(self):
        await super().start()
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)


run(Hanging(), ServerSettings(Listen(port=0)), lambda url: print(url, flush=True))
"""


def test_what_hangs_behind_the_end_does_not_hold_the_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://")
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "leaving without it" in errors


async def closed_to_others(host: str, port: int) -> None:
    """Waits until a port takes no more connections: the end has begun."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.005)


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = refused("--port", str(port))
    assert code == 1
    assert text == f"Error: can't listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_bad_host_is_one_line() -> None:
    code, text = refused("--port", "0", "--host", "no such host")
    assert code == 1
    assert text.startswith("Error: can't listen on no such host:0: ")
    assert text.count("\n") == 1


@pytest.mark.parametrize("flags", [("--certfile", "{}"), ("--keyfile", "{}")])
def test_half_of_tls_is_one_line(flags: tuple[str, str], tmp_path: Path) -> None:
    code, text = refused("--port", "0", flags[0], flags[1].format(tmp_path / "x.pem"))
    assert code == 2
    assert text.endswith("Error: TLS needs both --certfile and --keyfile\n")


@pytest.mark.parametrize("content", [None, "", "no certificate\n"])
def test_a_bad_certificate_is_one_line(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_text(content)
    code, text = refused("--port", "0", "--certfile", str(path), "--keyfile", str(path))
    assert code == 1
    assert text.startswith(f"Error: can't use the certificate {path} with the key {path}: ")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value", "word"),
    [
        ("--store", "rabbit://x", "memory:"),
        ("--store", "memory", "memory:"),
        ("--store", "memory:x", "memory:"),
        ("--max-body", "0", "size"),
        ("--max-body", "1T", "size"),
        ("--max-body", "-1", "size"),
        ("--max-queue-bytes", "x", "size"),
        ("--max-wait", "-1", "seconds"),
        ("--max-wait", "nan", "seconds"),
        ("--keep-closed", "inf", "seconds"),
        ("--long-polling-timeout", "", "seconds"),
        ("--port", "65536", "65535"),
        ("--max-queues", "0", "from 1 to"),
        ("--max-queues", "1e3", "whole number"),
        ("--max-connections", "9" * 20, "whole number"),
        ("--max-inflight-bytes", "0", "size"),
        ("--max-wait", "1e3", "seconds"),
        ("--max-wait", "9" * 12, "more than"),
        ("--log-level", "loud", "info"),
    ],
)
def test_a_bad_flag_is_named(flag: str, value: str, word: str) -> None:
    code, text = refused(flag, value)
    assert code == 2
    assert flag in text
    assert word in text


async def test_sizes_and_times_have_units(make_server: Make) -> None:
    server = make_server("--max-body", "1KiB", "--long-polling-timeout", "0.01", "--max-wait", ".5")
    async with client_of(server.url) as http:
        assert (await http.post("/push/q", content=b"x" * 1024)).status_code == 200
        assert (await http.post("/push/q", content=b"x" * 1025)).status_code == 413
        await http.post("/pull/q")
        assert (await http.post("/pull/q")).status_code == 204


async def test_flags_come_from_the_environment_too() -> None:
    env = {"BATCHQ_MAX_BODY": "2K", "BATCHQ_MAX_QUEUES": "1", "BATCHQ_MAX_QUEUE_BYTES": "4096"}
    with ServerProcess(env=env) as server:
        async with client_of(server.url) as http:
            assert (await http.post("/push/q", content=b"x" * 2048)).status_code == 200
            assert (await http.post("/push/q", content=b"x" * 2049)).status_code == 413
            assert (await http.post("/push/q", content=b"x" * 2048)).status_code == 429
            assert (await http.post("/push/r", content=b"x")).json()["code"] == "too-many-queues"


def test_help_tells_defaults_units_and_variables() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "batchq", "server", "--help"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    )
    text = " ".join(done.stdout.split())
    for flag, default in (
        ("HOST", "127.0.0.1"),
        ("PORT", "8080"),
        ("STORE", "(sqlite: a file in your data directory)"),
        ("FSYNC", "always"),
        ("MIN_FREE", "64MiB"),
        ("LONG_POLLING_TIMEOUT", "5"),
        ("MAX_WAIT", "60"),
        ("MAX_BODY", "64MiB"),
        ("MAX_QUEUE_BYTES", "1GiB"),
        ("MAX_QUEUES", "10000"),
        ("MAX_PRODUCERS", "1000"),
        ("MAX_INFLIGHT_BYTES", "512MiB"),
        ("KEEP_CLOSED", "3600"),
        ("LOG_LEVEL", "info"),
    ):
        assert f"[env var: BATCHQ_{flag}; default: {default}" in text
    assert "BATCHQ_CERTFILE" in text
    assert "BATCHQ_KEYFILE" in text


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "bad-request"),
        (b"POST /push/q HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, "bad-request"),
        (b"GET /pull/q HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (b"GET /pull/\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n", 431, "header-too-large"),
    ],
    ids=["no request", "length", "no host", "path", "header"],
)
async def test_bytes_that_are_no_request_get_a_problem_too(
    server: ServerProcess, request_: bytes, status: int, code: str
) -> None:
    host, port = server.url.rpartition("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "content-type: application/problem+json" in head
    problem_in(await reader.readline(), "application/problem+json", status, status, code)
    writer.close()
    await writer.wait_closed()
