from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable
from pathlib import Path

import httpx
import pytest
from support.clients import client_of
from support.problems import problem_of
from support.servers import LocalServer, serving

from batchq import errors
from batchq.app.problems import STATUS, problem, refused, status_of
from batchq.model import Limits, PullAnswer, PullRequest, Pushed, PushRequest, QueueStats
from batchq.stores.memory import MemoryStore

PROTOCOL = Path(__file__).parents[2] / "docs/reference/protocol.md"

TABLE = [
    (errors.BadRequest("d"), 400, {}),
    (errors.Unauthorized("d"), 401, {"www-authenticate": "Bearer"}),
    (errors.Forbidden("d"), 403, {}),
    (errors.CrossSite("d"), 403, {}),
    (errors.StaleEpoch("d", epoch=7, queue_id="i"), 403, {"producer-epoch": "7", "queue-id": "i"}),
    (errors.NotFound("d"), 404, {}),
    (errors.NoSuchQueue("d"), 404, {}),
    (errors.MethodNotAllowed("d", allow=("GET", "POST")), 405, {"allow": "GET, POST"}),
    (errors.NotAcceptable("d"), 406, {}),
    (errors.QueueClosed("d", queue_id="i"), 409, {"queue-id": "i"}),
    (errors.QueueReplaced("d", queue_id="i"), 409, {"queue-id": "i"}),
    (
        errors.SequenceGap("d", expected=3, received=9, queue_id="i"),
        409,
        {"producer-expected-seq": "3", "producer-received-seq": "9", "queue-id": "i"},
    ),
    (errors.LeaseLost("d", lost=("a", "b"), queue_id="i"), 409, {"lease-lost": "a, b"}),
    (errors.TotalsDiffer("d", queue_id="i"), 409, {"queue-id": "i"}),
    (errors.TooLarge("d"), 413, {}),
    (errors.UnsupportedMediaType("d"), 415, {}),
    (errors.Unprocessable("d"), 422, {}),
    (errors.QueueFull("d", queue_id="i"), 429, {"retry-after": "1", "queue-id": "i"}),
    (errors.TooManyQueues("d"), 429, {"retry-after": "1"}),
    (errors.TooManyProducers("d"), 429, {"retry-after": "1"}),
    (errors.TooManyLeases("d"), 429, {"retry-after": "1"}),
    (errors.ShuttingDown("d"), 503, {"retry-after": "1"}),
    (errors.StoreUnavailable("d"), 503, {"retry-after": "1"}),
    (errors.DiskFull("d"), 507, {"retry-after": "1"}),
    (errors.BatchqError("d"), 500, {}),
]
IDS = [type(error).code for error, _, _ in TABLE]


class FailingStore(MemoryStore):
    """A store whose verbs end as they are told."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def push(self, request: PushRequest) -> Pushed:  # noqa: ARG002
        raise self.error

    async def pull(self, request: PullRequest) -> PullAnswer:  # noqa: ARG002
        raise self.error

    async def queues(self) -> list[QueueStats]:
        raise self.error


@pytest.mark.parametrize(("error", "status", "headers"), TABLE, ids=IDS)
async def test_every_row_of_the_table(
    error: errors.BatchqError, status: int, headers: dict[str, str]
) -> None:
    async with serving(store=FailingStore(error)) as local, client_of(local.url) as http:
        calls: list[Awaitable[httpx.Response]] = [
            http.post("/push/q", content=b"a\n"),
            http.post("/pull/q"),
            http.get("/queues"),
        ]
        for call in calls:
            answer = await call
            fields = problem_of(answer, status, type(error).code)
            assert fields["detail"] == "d"
            assert fields["title"] == type(error).title
            for name, value in headers.items():
                assert answer.headers[name] == value


def all_errors(kind: type[errors.BatchqError]) -> list[type[errors.BatchqError]]:
    """A kind and those below it; what a store derives for its own use is told as its parent."""
    if kind.__module__ != errors.__name__:
        return []
    below = [deep for sub in kind.__subclasses__() for deep in all_errors(sub)]
    return [kind, *below]


def test_every_error_of_the_tree_has_a_status_of_its_class() -> None:
    shown = {type(error) for error, _, _ in TABLE}
    for kind in all_errors(errors.BatchqError):
        assert any(parent in STATUS for parent in kind.__mro__) or kind in (
            errors.BatchqError,
            errors.RequestError,
        )
        assert kind in shown or kind.__subclasses__(), kind


def test_the_protocol_names_every_code_by_its_status() -> None:
    rows = {
        int(status): row
        for status, row in re.findall(
            r"^\| (\d{3}) \| (.*) \|$", PROTOCOL.read_text(), re.MULTILINE
        )
    }
    known = {(status, type(error).code) for error, status, _ in TABLE if status != 500}
    given = [refused(status) for status in (400, 404, 431, 500, 501)]
    known |= {(answer.status, json.loads(answer.body)["code"]) for answer in given}
    assert set(rows) == {status for status, _ in known}
    for status, code in known:
        assert f"`{code}`" in rows[status]


def test_a_status_is_that_of_the_nearest_class() -> None:
    class Nearer(errors.QueueFull):
        pass

    assert status_of(Nearer("d")) == 429
    assert problem(Nearer("d")).status == 429


@pytest.mark.parametrize("path", ["/push/q", "/pull/q", "/queues"])
async def test_a_fault_of_the_server_is_logged_and_not_told(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serving(store=FailingStore(ZeroDivisionError("secret"))) as local,
        client_of(local.url) as http,
    ):
        method = "GET" if path == "/queues" else "POST"
        with caplog.at_level(logging.ERROR):
            answer = await http.request(method, path)
        problem_of(answer, 500, "internal-error")
        assert b"secret" not in answer.content
        assert "secret" in caplog.text
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/nope", "/push", "/push/", "/pull/", "/push/a/b", "/pull/a/", "/PUSH/q", "//push/q",
     "/favicon.ico", "/push%2Fq"],
)  # fmt: skip
async def test_an_unknown_route_is_404(http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        problem_of(await http.request(method, path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/push/q", {"POST"}),
        ("PUT", "/push/q", {"POST"}),
        ("OPTIONS", "/push/q", {"POST"}),
        ("PUT", "/pull/q", {"GET", "POST"}),
        ("OPTIONS", "/pull/q", {"GET", "POST"}),
        ("DELETE", "/pull/q", {"GET", "POST"}),
        ("GET", "/ack/q", {"POST"}),
        ("GET", "/release/q", {"POST"}),
        ("GET", "/extend/q", {"POST"}),
        ("GET", "/close/q", {"POST"}),
        ("POST", "/queues", {"GET", "HEAD"}),
        ("OPTIONS", "/queues", {"GET", "HEAD"}),
        ("POST", "/queues/q", {"DELETE", "GET", "HEAD"}),
        ("OPTIONS", "/queues/q", {"DELETE", "GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("OPTIONS", "/readyz", {"GET", "HEAD"}),
        ("BREW", "/push/q", {"POST"}),
    ],
)
async def test_another_method_is_405(
    http: httpx.AsyncClient, method: str, path: str, allow: set[str]
) -> None:
    answer = await http.request(method, path)
    problem_of(answer, 405, "method-not-allowed")
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allow


async def test_get_on_push_names_pull(http: httpx.AsyncClient) -> None:
    answer = await http.get("/push/q")
    assert "/pull/q" in answer.json()["detail"]


async def test_head_takes_nothing(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"a\n")
    answer = await http.head("/pull/q")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
    assert answer.content == b""
    assert (await http.post("/pull/q")).content == b"a\n"


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://["},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_another_sites_page_may_change_nothing(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await http.post("/push/q", content=b"a\n")
    for method, path in (
        ("POST", "/push/q"),
        ("GET", "/pull/q"),
        ("POST", "/pull/q"),
        ("POST", "/ack/q?lease=x"),
        ("POST", "/release/q?lease=x"),
        ("POST", "/extend/q?lease=x&seconds=1"),
        ("POST", "/close/q"),
        ("DELETE", "/queues/q"),
    ):
        problem_of(await http.request(method, path, headers=headers), 403, "cross-site")
    stats = (await http.get("/queues/q")).json()
    assert (stats["ready_lines"], stats["closed"]) == (1, False)


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_the_servers_own_page_may(
    http: httpx.AsyncClient, served: LocalServer, site: str
) -> None:
    headers = {"Sec-Fetch-Site": site, "Origin": served.url}
    answer = await http.post("/push/q", content=b"a\n", headers=headers)
    assert answer.status_code == 200
    assert (await http.get("/pull/q", headers=headers)).content == b"a\n"
    assert (await http.delete("/queues/q", headers=headers)).status_code == 204


async def test_queues_that_do_not_exist(http: httpx.AsyncClient) -> None:
    problem_of(await http.get("/queues/q"), 404, "no-such-queue")
    problem_of(await http.delete("/queues/q"), 404, "no-such-queue")


async def test_a_closed_queue_takes_nothing(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"a\n")
    await http.post("/close/q")
    answer = await http.post("/push/q", content=b"b\n")
    problem_of(answer, 409, "queue-closed")
    assert answer.headers["queue-id"]


@pytest.mark.parametrize("told", [{"lines": 2}, {"bytes": 1}, {"lines": 1, "bytes": 3}])
async def test_totals_that_differ_leave_the_queue_open(
    http: httpx.AsyncClient, told: dict[str, int]
) -> None:
    await http.post("/push/q", content=b"a\n")
    problem_of(await http.post("/close/q", json=told), 409, "totals-differ")
    assert (await http.post("/push/q", content=b"b\n")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad-request"),
        (b"[]", 422, "unprocessable"),
        (b'{"lines": -1}', 422, "unprocessable"),
        (b'{"lines": true}', 422, "unprocessable"),
        (b'{"lines": 1.0}', 422, "unprocessable"),
        (b'{"bytes": "1"}', 422, "unprocessable"),
        (b'{"bytes": 9007199254740992}', 422, "unprocessable"),
        (b'{"digest": "md5:00"}', 422, "unprocessable"),
        (b'{"digest": 1}', 422, "unprocessable"),
        (b'{"unterminated": 1}', 422, "unprocessable"),
        (b'{"line": 1}', 422, "unprocessable"),
        (b" " * 70_000, 413, "too-large"),
    ],
)
async def test_a_close_that_cannot_be_read(
    http: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    problem_of(await http.post("/close/q", content=body), status, code)
    problem_of(await http.get("/queues/q"), 404, "no-such-queue")


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "application/msgpack"}, {"Content-Encoding": "gzip"}], ids=str
)
async def test_a_close_in_another_form(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.post("/close/q", content=b"{}", headers=headers)
    problem_of(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "image/png"}, {"Content-Encoding": "gzip"}], ids=str
)
async def test_a_push_in_another_form(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.post("/push/q", content=b"a\n", headers=headers)
    problem_of(answer, 415, "unsupported-media-type")


async def test_a_pull_in_another_form_takes_nothing(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"a\n")
    answer = await http.post("/pull/q", headers={"Accept": "image/png"})
    problem_of(answer, 406, "not-acceptable")
    assert (await http.post("/pull/q")).content == b"a\n"


async def test_a_full_queue_says_when_to_come_back() -> None:
    limits = Limits(queue_bytes=4, queues=1, producers=1)
    async with serving(limits=limits) as local, client_of(local.url) as http:
        await http.post("/push/q", content=b"abc\n")
        for path in ("/push/q", "/push/q?wait=0.01"):
            answer = await http.post(path, content=b"d\n")
            problem_of(answer, 429, "queue-full")
            assert int(answer.headers["retry-after"]) >= 1
        answer = await http.post("/push/other", content=b"d\n")
        problem_of(answer, 429, "too-many-queues")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
async def test_a_store_that_failed_is_neither_ready_nor_healthy(path: str) -> None:
    class Failed(MemoryStore):
        def failure(self) -> str | None:
            return "the disk is gone"

    async with serving(store=Failed()) as local, client_of(local.url) as http:
        answer = await http.get(path)
        fields = problem_of(answer, 503, "store-unavailable")
        assert fields["detail"] == "the disk is gone"
        assert answer.headers["retry-after"]
