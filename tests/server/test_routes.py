from __future__ import annotations

import json

import httpx
import msgpack  # type: ignore[import-untyped]
import pytest
from support.servers import LocalServer

from batchq.model import MIB

QUEUE_ID = r"[0-9a-f]{32}"


async def test_a_push_tells_where_its_lines_are(http: httpx.AsyncClient) -> None:
    first = await http.post("/push/q", content=b"a\nbb\n")
    assert first.http_version == "HTTP/2"
    assert first.status_code == 200
    assert first.headers["batch-offset"] == "0"
    assert first.headers["batch-position"] == "0"
    assert first.headers["batch-lines"] == "2"
    assert first.content == b""
    second = await http.post("/push/q", content=b"c")
    assert second.headers["batch-offset"] == "2"
    assert second.headers["batch-position"] == "5"
    assert second.headers["batch-lines"] == "1"
    assert second.headers["queue-id"] == first.headers["queue-id"]


async def test_a_pull_carries_the_batch_and_its_headers(http: httpx.AsyncClient) -> None:
    put = await http.post("/push/q", content=b"a\nbb\nccc\n")
    got = await http.post("/pull/q?max=2")
    assert got.status_code == 200
    assert got.content == b"a\nbb\n"
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["content-length"] == "5"
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["queue-id"] == put.headers["queue-id"]
    assert got.headers["batch-offset"] == "0"
    assert got.headers["batch-position"] == "0"
    assert got.headers["batch-lines"] == "2"
    assert got.headers["queue-ready"] == "1"
    assert got.headers["batch-deliveries"] == "1"
    assert "batch-lease" not in got.headers
    rest = await http.get("/pull/q")
    assert rest.content == b"ccc\n"
    assert rest.headers["batch-offset"] == "2"
    assert rest.headers["batch-position"] == "5"


async def test_max_bytes_gives_whole_lines_and_always_one(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"12345\n1\n2\n")
    assert (await http.post("/pull/q?max_bytes=1")).content == b"12345\n"
    assert (await http.post("/pull/q?max_bytes=3")).content == b"1\n"
    assert (await http.post("/pull/q?max_bytes=3")).content == b"2\n"


async def test_a_pull_of_nothing_is_204(http: httpx.AsyncClient) -> None:
    unknown = await http.post("/pull/q?wait=0")
    assert unknown.status_code == 204
    assert unknown.content == b""
    assert "queue-id" not in unknown.headers
    assert "content-length" not in unknown.headers
    assert unknown.headers["cache-control"] == "no-store"
    put = await http.post("/push/q", content=b"")
    assert put.headers["batch-lines"] == "0"
    empty = await http.post("/pull/q?wait=0")
    assert empty.status_code == 204
    assert empty.headers["queue-id"] == put.headers["queue-id"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/json"),
        ("application/msgpack", "application/msgpack"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("*/*", "text/plain"),
    ],
)
async def test_accept_chooses_the_form(http: httpx.AsyncClient, accept: str, kind: str) -> None:
    await http.post("/push/q", content=b"a\nb\n")
    got = await http.post("/pull/q", headers={"Accept": accept})
    assert got.headers["content-type"] == kind
    if kind == "application/json":
        told = json.loads(got.content)
        assert told == {"offset": 0, "position": 0, "lines": ["a", "b"], "lease": None}
    elif kind == "application/msgpack":
        told = msgpack.unpackb(got.content)
        assert told == {"offset": 0, "position": 0, "lines": [b"a", b"b"], "lease": None}
    else:
        assert got.content == b"a\nb\n"


async def test_several_accept_fields_are_one_list(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"a\n")
    headers = [("Accept", "image/png"), ("Accept", "application/json")]
    got = await http.post("/pull/q", headers=headers)
    assert got.headers["content-type"] == "application/json"


async def test_json_and_msgpack_are_pushed_too(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", json=["a", "ä\r"])
    await http.post("/push/q", json={"lines": ["b"]})
    body = msgpack.packb([b"\xff", "c"])
    await http.post("/push/q", content=body, headers={"Content-Type": "application/msgpack"})
    assert (await http.post("/pull/q")).content == "a\nä\r\nb\n".encode() + b"\xff\nc\n"


async def test_json_stops_before_what_is_not_utf8(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"a\nb\n\xff\nc\n")
    asked = {"Accept": "application/json"}
    assert (await http.post("/pull/q", headers=asked)).json()["lines"] == ["a", "b"]
    refused = await http.post("/pull/q", headers=asked)
    assert refused.status_code == 406
    assert "2" in refused.json()["detail"]
    assert (await http.post("/pull/q")).content == b"\xff\nc\n"


async def test_close_tells_the_totals_and_the_end(http: httpx.AsyncClient) -> None:
    put = await http.post("/push/q", content=b"a\nb\n")
    digest = "xxh3-128:" + "0" * 32
    told = {"lines": 2, "bytes": 4, "digest": digest, "unterminated": True}
    closed = await http.post("/close/q", json=told)
    assert closed.status_code == 200
    assert closed.headers["queue-closed"] == "true"
    assert closed.headers["queue-lines"] == "2"
    assert closed.headers["queue-bytes"] == "4"
    assert (await http.post("/close/q")).status_code == 200
    assert (await http.post("/pull/q")).content == b"a\nb\n"
    end = await http.post("/pull/q", headers={"Queue-Id": put.headers["queue-id"]})
    assert end.status_code == 204
    assert end.headers["queue-id"] == put.headers["queue-id"]
    assert end.headers["queue-closed"] == "true"
    assert end.headers["queue-lines"] == "2"
    assert end.headers["queue-bytes"] == "4"
    assert end.headers["queue-digest"] == digest
    assert end.headers["queue-unterminated"] == "true"


async def test_close_takes_what_curl_calls_a_form(http: httpx.AsyncClient) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await http.post("/close/q", content=b'{"lines":0}', headers=kind)).status_code == 200
    assert (await http.post("/close/r", content=b" \n", headers=kind)).status_code == 200


async def test_statistics_of_queues(http: httpx.AsyncClient) -> None:
    assert (await http.get("/queues")).json() == {"queues": []}
    put = await http.post("/push/b", content=b"1\n2\n")
    await http.post("/push/a", content=b"")
    await http.post("/pull/b?max=1")
    told = await http.get("/queues")
    assert told.headers["content-type"] == "application/json"
    assert told.content.endswith(b"}\n")
    assert [one["queue"] for one in told.json()["queues"]] == ["a", "b"]
    one = await http.get("/queues/b")
    assert one.headers["queue-id"] == put.headers["queue-id"]
    stats = one.json()
    assert (stats["queue"], stats["queue_id"]) == ("b", put.headers["queue-id"])
    assert (stats["lines"], stats["bytes"]) == (2, 4)
    assert (stats["ready_lines"], stats["ready_bytes"]) == (1, 2)
    assert stats["closed"] is False
    assert "producer" not in stats


async def test_a_producers_state(http: httpx.AsyncClient) -> None:
    numbered = {"Producer-Id": "w+1", "Producer-Epoch": "3", "Producer-Seq": "0"}
    await http.post("/push/q", content=b"a\nb\n", headers=numbered)
    told = (await http.get("/queues/q", params={"producer": "w+1"})).json()["producer"]
    assert told == {"id": "w+1", "epoch": 3, "seq": 0, "lines": 2, "bytes": 4}
    assert (await http.get("/queues/q?producer=other")).json()["producer"] is None


async def test_delete_ends_a_life(http: httpx.AsyncClient) -> None:
    put = await http.post("/push/q", content=b"a\n")
    gone = await http.delete("/queues/q")
    assert gone.status_code == 204
    assert gone.headers["queue-id"] == put.headers["queue-id"]
    assert (await http.get("/queues/q")).status_code == 404
    again = await http.post("/push/q", content=b"b\n")
    assert again.headers["batch-offset"] == "0"
    assert again.headers["queue-id"] != put.headers["queue-id"]


async def test_a_life_can_be_pinned(http: httpx.AsyncClient) -> None:
    put = await http.post("/push/q", content=b"a\n")
    pin = {"Queue-Id": put.headers["queue-id"]}
    assert (await http.post("/push/q", content=b"b\n", headers=pin)).status_code == 200
    await http.delete("/queues/q")
    await http.post("/push/q", content=b"new\n")
    for answer in (
        await http.post("/push/q", content=b"c\n", headers=pin),
        await http.post("/close/q", headers=pin),
        await http.get("/queues/q", headers=pin),
        await http.delete("/queues/q", headers=pin),
    ):
        assert answer.status_code == 409
        assert answer.json()["code"] == "queue-replaced"
    assert (await http.post("/pull/q")).content == b"new\n"


async def test_health(http: httpx.AsyncClient, served: LocalServer) -> None:
    alive = await http.get("/healthz")
    assert alive.status_code == 200
    assert alive.json()["level"] == "process"
    assert alive.json()["promise"] == served.store.promise.text
    limits = [alive.json()[name] for name in ("max_wait", "max_body", "max_queue_bytes")]
    assert limits == [60.0, 64 * MIB, served.store.queue_bytes]
    assert (await http.head("/healthz")).status_code == 200
    ready = await http.get("/readyz")
    assert ready.json() == {"status": "ready"}


async def test_names_arrive_percent_encoded(http: httpx.AsyncClient) -> None:
    await http.post("/push/%61%2Eb", content=b"x\n")
    assert (await http.post("/pull/a.b")).content == b"x\n"
    assert (await http.get("/queues/a%2Eb")).json()["queue"] == "a.b"


async def test_leases_over_http(http: httpx.AsyncClient) -> None:
    await http.post("/push/q", content=b"a\nb\n")
    got = await http.post("/pull/q?max=1&lease=30&lease_id=mine")
    assert got.headers["batch-lease"] == "mine"
    assert float(got.headers["batch-lease-seconds"]) <= 30.0
    retried = await http.post("/pull/q?max=1&lease=30&lease_id=mine")
    assert retried.content == b"a\n"
    assert (await http.post("/extend/q?lease=mine&seconds=60")).status_code == 204
    assert (await http.post("/release/q?lease=mine")).status_code == 204
    again = await http.post("/pull/q?max=1&lease=30.5")
    assert again.content == b"a\n"
    assert int(again.headers["batch-deliveries"]) > 1
    lease = again.headers["batch-lease"]
    following = await http.post(f"/pull/q?ack={lease}&ack=unknown")
    assert following.content == b"b\n"
    assert following.headers["lease-lost"] == "unknown"
    lost = await http.post(f"/ack/q?lease={lease}&lease=other")
    assert lost.status_code == 409
    assert lost.json()["code"] == "lease-lost"
    assert lost.headers["lease-lost"] == f"{lease}, other"
