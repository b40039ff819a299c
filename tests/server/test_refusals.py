"""What is refused before it reaches a route, and targets in other forms than a path."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.curl import VERSIONS, curl
from support.problems import problem_in
from support.servers import ServerProcess

from batchq.app.problems import refused


@pytest.fixture(scope="module")
def server() -> Any:
    with ServerProcess("--long-polling-timeout", "0") as running:
        yield running


async def sent(server: ServerProcess, request: bytes) -> tuple[int, bytes]:
    """Sends bytes, and gives the answer's status and body."""
    host, port = server.url.rpartition("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(
        (line for line in head.split("\r\n") if line.startswith("content-length:")), ": 0"
    )
    body = await reader.readexactly(int(length.partition(":")[2]))
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


@pytest.mark.parametrize("coding", ["gzip", "identity", "gzip, chunked"])
async def test_a_transfer_coding_that_is_not_known(server: ServerProcess, coding: str) -> None:
    status, body = await sent(
        server,
        b"POST /push/q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n" % coding.encode(),
    )
    kind = "application/problem+json"
    detail = problem_in(body, kind, status, 501, "not-implemented")["detail"]
    assert "Content-Length" in detail


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (400, "bad-request", "check"),
        (404, "not-found", "GET /queues"),
        (431, "header-too-large", "16 KiB"),
        (501, "not-implemented", "chunked"),
        (500, "internal-error", "log"),
        (417, "expectation-failed", "protocol"),
        (599, "refused", "protocol"),
    ],
)
def test_every_status_has_its_code_and_says_what_to_do(status: int, code: str, remedy: str) -> None:
    answer = refused(status)
    kind = "application/problem+json"
    assert remedy in problem_in(answer.body, kind, answer.status, status, code)["detail"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://x/queues", 200),
        ("HTTP://other:8080/queues?", 200),
        ("https://x/healthz", 200),
        ("http://x/pull/q", 204),
        ("http://x/pull/q?wait=0", 204),
        ("http://x/pull/q?wait=x", 400),
        ("http://x/pull/a%2Fb", 400),
        ("http://x/push/q", 405),
        ("http://x", 404),
        ("http://x/", 404),
        ("*", 404),
        ("?x", 404),
        ("queues", 404),
        ("ftp://x/queues", 404),
    ],
)
async def test_a_target_is_a_path_or_absolute(
    server: ServerProcess, target: str, status: int
) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert (await sent(server, request))[0] == status
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize("host", ["..", "a b", "[::1", ".x", "x" * 300, "\xff", "a,b", ""])
@pytest.mark.parametrize("path", ["/queues", "/nope", "/healthz", "/pull/q"])
async def test_whatever_the_host_is_called(server: ServerProcess, host: str, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
    wanted = {"/nope": 404, "/pull/q": 204}.get(path, 200)
    assert (await sent(server, request))[0] == wanted
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize("flags", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize(
    ("call", "word"),
    [
        ("pull/q", "send none"),
        ("ack/q?lease=a", "send none"),
        ("release/q?lease=a", "send none"),
        ("extend/q?lease=a&seconds=1", "send none"),
        ("close/q", "/push/q"),
    ],
)
async def test_a_body_where_none_is_taken_is_refused_with_its_own_remedy(
    server: ServerProcess, flags: tuple[str, ...], call: str, word: str
) -> None:
    url = f"{server.url}/{call}"
    answer = await curl(*flags, "--data-binary", "@-", url, stdin=b"x" * 70_000)
    kind = answer.headers["content-type"]
    detail = problem_in(answer.body, kind, answer.status, 413, "too-large")["detail"]
    assert word in detail
    assert "--max-body" not in detail
