from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clients import client_of
from support.problems import problem_of
from support.servers import serving

from batchq.app import Settings
from batchq.app import parameters as read
from batchq.errors import BadRequest
from batchq.model import MAX_INTEGER, MIB, Numbering

NUMBERS = ["", "-1", "+1", "1.5", "x", "NaN", "inf", "0x10", "1e3", "1_000", "%201", "1%20",
           "%D9%A1", str(MAX_INTEGER + 1), "9" * 400]  # fmt: skip
SECONDS = ["", "-1", "-0.1", "+1", "x", "NaN", "nan", "inf", "-inf", "1e3", "0x10", "1,5", "1.5.5",
           ".", "1_0", "%201", "%D9%A1", "9" * 400]  # fmt: skip
BOOLEANS = ["", "1", "yes", "True", "TRUE", "false%20"]
LEASES = ["", "a%20b", "a,b", "%C3%A4", "x" * 65, "a/b"]

BAD_PULL = [
    *(("min", value) for value in [*NUMBERS, "0"]),
    *(("max", value) for value in [*NUMBERS, "0"]),
    *(("max_bytes", value) for value in [*NUMBERS, "0"]),
    *(("wait", value) for value in SECONDS),
    *(("partial", value) for value in BOOLEANS),
    *(("lease", value) for value in [*SECONDS, "0", "0.0"]),
    *(("ack", value) for value in LEASES),
]


@pytest.mark.parametrize(("name", "value"), BAD_PULL)
def test_a_bad_value_of_a_pull_is_named(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=rf"^{name} "):
        read.pull_parameters(f"{name}={value}".encode())


@pytest.mark.parametrize("value", LEASES)
def test_a_bad_lease_id_is_named(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^lease_id "):
        read.pull_parameters(f"lease=1&lease_id={value}".encode())


@pytest.mark.parametrize(
    "query", ["min=1", "max=1", "max_bytes=1", "wait=1", "partial=true", "lease=1", "lease_id=a"]
)
def test_a_parameter_given_twice_is_named(query: str) -> None:
    name = query.partition("=")[0]
    with pytest.raises(BadRequest, match=rf"^{name} is given 2 times"):
        read.pull_parameters(
            f"lease=1&{query}&{query}".replace("lease=1&lease=1&", "lease=1&").encode()
        )


@pytest.mark.parametrize("query", [b"mim=1", b"Min=1", b"x", b"min=1&count=2", b"=1", b"min[]=1"])
def test_a_parameter_that_is_not_known_is_refused(query: bytes) -> None:
    with pytest.raises(BadRequest, match="is not a parameter here"):
        read.pull_parameters(query)


def test_max_below_min_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"max .* is below min"):
        read.pull_parameters(b"min=3&max=2")
    assert read.pull_parameters(b"min=3&max=3").max == 3


def test_a_lease_id_needs_a_lease() -> None:
    with pytest.raises(BadRequest, match="lease_id without lease"):
        read.pull_parameters(b"lease_id=a")


@pytest.mark.parametrize("query", [b"min=%ff", b"m%ffn=1", b"min=\xff"])
def test_a_query_that_is_not_utf8_is_refused(query: bytes) -> None:
    with pytest.raises(BadRequest, match="percent-encoded"):
        read.pull_parameters(query)


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(BadRequest, match="more than"):
        read.pull_parameters(b"&".join([b"ack=a"] * 2000))


def test_what_a_pull_means_by_default() -> None:
    assert read.pull_parameters(b"") == read.PullParameters(
        min=1, max=None, max_bytes=MIB, wait=None, partial=True, lease=None, lease_id=None, ack=()
    )


def test_all_of_a_pull() -> None:
    query = b"min=2&max=30&max_bytes=4&wait=.5&partial=false&lease=30.&lease_id=a_-Z&ack=b&ack=c"
    assert read.pull_parameters(query) == read.PullParameters(
        min=2, max=30, max_bytes=4, wait=0.5, partial=False, lease=30.0, lease_id="a_-Z",
        ack=("b", "c"),
    )  # fmt: skip
    assert read.pull_parameters(f"min={MAX_INTEGER}".encode()).min == MAX_INTEGER


@given(st.binary(max_size=60))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    for reader in (read.pull_parameters, read.push_wait, read.leases, read.extension):
        with suppress(BadRequest):
            reader(query)


@pytest.mark.parametrize("value", SECONDS)
def test_a_bad_wait_of_a_push_is_named(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^wait "):
        read.push_wait(f"wait={value}".encode())


@pytest.mark.parametrize(
    ("reader", "query", "name"),
    [
        (read.leases, b"", "lease is missing"),
        (read.leases, b"lease=", "lease is empty"),
        (read.leases, b"lease=a%20", "lease must"),
        (read.leases, b"lease=a&seconds=1", "'seconds' is not a parameter"),
        (read.extension, b"lease=a", "seconds is missing"),
        (read.extension, b"seconds=1", "lease is missing"),
        (read.extension, b"lease=a&seconds=0", "seconds must"),
        (read.extension, b"lease=a&seconds=nan", "seconds must"),
        (read.extension, b"lease=a&seconds=1&seconds=2", "seconds is given 2 times"),
        (read.no_parameters, b"x=1", "'x' is not a parameter here: there are none"),
    ],
)
def test_bad_queries_of_the_other_calls(
    reader: Callable[[bytes], Any], query: bytes, name: str
) -> None:
    with pytest.raises(BadRequest, match=f"^{name}"):
        reader(query)


def test_leases_are_read() -> None:
    assert read.leases(b"lease=a&lease=b") == ("a", "b")
    assert read.extension(b"lease=a&seconds=2.5") == (("a",), 2.5)


@pytest.mark.parametrize("segment", ["a", "A9._-", "x" * 128, "%61", "0"])
def test_a_queues_name(segment: str) -> None:
    assert read.queue_name(segment) == segment.replace("%61", "a")


@pytest.mark.parametrize(
    "segment",
    ["", ".a", "-a", "_a", "a b", "a%20b", "a%2Fb", "a%00", "a%0A", "%FF", "%C3%A4", "ä", "a+b",
     "x" * 129, "..", "%2E%2E", "a%", "a%zz"],
)  # fmt: skip
def test_what_is_no_queues_name(segment: str) -> None:
    with pytest.raises(BadRequest, match="is not a queue's name"):
        read.queue_name(segment)


def numbered(producer: str | None, epoch: str | None, seq: str | None) -> dict[bytes, bytes]:
    fields = {b"producer-id": producer, b"producer-epoch": epoch, b"producer-seq": seq}
    return {name: value.encode("latin-1") for name, value in fields.items() if value is not None}


def test_numbering() -> None:
    assert read.numbering({}) is None
    assert read.numbering(numbered("a b"[::2], "0", str(MAX_INTEGER))) == Numbering(
        "ab", 0, MAX_INTEGER
    )
    assert read.numbering(numbered("!~" * 64, "00", "7")) == Numbering("!~" * 64, 0, 7)


@pytest.mark.parametrize(
    ("producer", "epoch", "seq"),
    [("a", None, None), (None, "1", None), (None, None, "1"), ("a", "1", None), (None, "1", "1"),
     ("a", None, "1")],
)  # fmt: skip
def test_numbering_is_all_three_or_none(
    producer: str | None, epoch: str | None, seq: str | None
) -> None:
    with pytest.raises(BadRequest, match="send all three"):
        read.numbering(numbered(producer, epoch, seq))


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "ä", "\t", "a\x7f"])
def test_a_bad_producer_id_is_named(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^Producer-Id"):
        read.numbering(numbered(value, "0", "0"))


@pytest.mark.parametrize(
    "value", ["", "-1", "x", "1.0", "NaN", "²", " 1", str(MAX_INTEGER + 1), "9" * 99]
)
def test_bad_numbers_of_a_producer_are_named(value: str) -> None:
    with pytest.raises(BadRequest, match=r"^Producer-Epoch"):
        read.numbering(numbered("a", value, "0"))
    with pytest.raises(BadRequest, match=r"^Producer-Seq"):
        read.numbering(numbered("a", "0", value))


@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 129, b"\xff"])
def test_a_bad_queue_id_is_named(value: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^Queue-Id"):
        read.queue_id({b"queue-id": value})


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/pull/q?min=0", "min"),
        ("GET", "/pull/q?wiat=0", "wiat"),
        ("POST", "/push/q?wait=-1", "wait"),
        ("POST", "/push/q?min=1", "min"),
        ("POST", "/push/.q", "queue's name"),
        ("GET", "/pull/q%2Fr", "queue's name"),
        ("POST", "/ack/q", "lease"),
        ("POST", "/release/q?lease=", "lease"),
        ("POST", "/extend/q?lease=a", "seconds"),
        ("POST", "/close/q?x=1", "x"),
        ("GET", "/queues?x=1", "x"),
        ("GET", "/queues/q?x=1", "x"),
        ("GET", "/queues/q?producer=", "producer"),
        ("GET", "/queues/q?producer=a&producer=b", "producer"),
        ("GET", "/queues/q%2Fr", "queue's name"),
        ("DELETE", "/queues/q?x=1", "x"),
        ("DELETE", "/queues/-", "queue's name"),
        ("GET", "/healthz?x=1", "x"),
        ("GET", "/readyz?x=1", "x"),
    ],
)
async def test_every_route_refuses_what_it_does_not_know(
    http: httpx.AsyncClient, method: str, path: str, word: str
) -> None:
    answer = await http.request(method, path)
    assert word in problem_of(answer, 400, "bad-request")["detail"]
    assert (await http.get("/queues")).json() == {"queues": []}


async def test_a_bad_producer_in_the_query(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"a\n")
    for value in ("a%20b", "%C3%A4", "x" * 129):
        answer = await http.get(f"/queues/q?producer={value}")
        assert "producer" in problem_of(answer, 400, "bad-request")["detail"]


@pytest.mark.parametrize(
    "name", ["Queue-Id", "Producer-Id", "Producer-Epoch", "Producer-Seq", "Content-Type"]
)
async def test_a_header_given_twice_is_named(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.post("/push/q", content=b"a\n", headers=[(name, "1"), (name, "1")])
    assert name in problem_of(answer, 400, "bad-request")["detail"]
    assert (await http.get("/queues")).json() == {"queues": []}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_queue_id_given_twice_to_a_view(http: httpx.AsyncClient, method: str) -> None:
    headers = [("Queue-Id", "1"), ("Queue-Id", "1")]
    answer = await http.request(method, "/queues/q", headers=headers)
    assert "Queue-Id" in problem_of(answer, 400, "bad-request")["detail"]


async def test_waits_and_sizes_are_cut_to_the_servers() -> None:
    settings = Settings(long_polling_timeout=99.0, max_wait=0.05, max_body=3)
    async with serving(settings=settings) as local, client_of(local.url) as http:
        huge = "9" * 30
        assert (await http.post(f"/pull/q?wait={huge}")).status_code == 204
        assert (await http.post("/pull/q")).status_code == 204
        for _ in range(3):
            await http.post("/push/q", content=b"a\n")
        assert (await http.post(f"/pull/q?max_bytes={MAX_INTEGER}")).content == b"a\n"
