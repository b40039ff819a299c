"""Pushes that are sent again, as their answer was lost, are never added twice."""

from __future__ import annotations

import httpx
import pytest
from support.clients import client_of
from support.problems import problem_of
from support.servers import serving

from batchq.model import Limits


def numbered(seq: int, epoch: int = 0, queue_id: str | None = None) -> dict[str, str]:
    headers = {"Producer-Id": "w", "Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}
    return headers if queue_id is None else {**headers, "Queue-Id": queue_id}


async def push(
    http: httpx.AsyncClient, data: bytes, seq: int, *, epoch: int = 0, queue_id: str | None = None
) -> httpx.Response:
    return await http.post("/push/q", content=data, headers=numbered(seq, epoch, queue_id))


async def test_a_numbered_push_tells_the_producers_totals(http: httpx.AsyncClient) -> None:
    await push(http, b"a\n", 0)
    answer = await push(http, b"bb\nc\n", 1)
    assert answer.status_code == 200
    assert answer.headers["producer-epoch"] == "0"
    assert answer.headers["producer-seq"] == "1"
    assert answer.headers["producer-lines"] == "3"
    assert answer.headers["producer-bytes"] == "7"


async def test_a_duplicate_adds_nothing(http: httpx.AsyncClient) -> None:
    first = await push(http, b"a\n", 0)
    await push(http, b"b\n", 1)
    for seq, data in ((0, b"a\n"), (1, b"b\n")):
        again = await push(http, data, seq)
        assert again.status_code == 204
        assert again.headers["queue-id"] == first.headers["queue-id"]
        assert again.headers["producer-seq"] == "1"
        assert again.headers["producer-bytes"] == "4"
        assert "batch-offset" not in again.headers
    assert (await http.post("/pull/q")).content == b"a\nb\n"


async def test_a_close_is_retried_without_harm(http: httpx.AsyncClient) -> None:
    put = await push(http, b"a\n", 0)
    for _ in range(2):
        closed = await http.post("/close/q", json={"lines": 1}, headers=numbered(1))
        assert closed.status_code == 200
        assert closed.headers["queue-lines"] == "1"
        assert closed.headers["queue-id"] == put.headers["queue-id"]
    assert closed.headers["producer-seq"] == "1"


@pytest.mark.parametrize("drained", [False, True])
async def test_the_last_push_is_retried_after_the_close(
    http: httpx.AsyncClient, drained: bool
) -> None:
    put = await push(http, b"a\n", 0)
    await http.post("/close/q")
    if drained:
        assert (await http.post("/pull/q")).content == b"a\n"
    again = await push(http, b"a\n", 0, queue_id=put.headers["queue-id"])
    assert again.status_code == 204
    if not drained:
        assert (await http.post("/pull/q")).content == b"a\n"
    end = await http.post("/pull/q")
    assert end.headers["queue-lines"] == "1"


async def test_a_retry_never_lands_in_a_later_life(http: httpx.AsyncClient) -> None:
    put = await push(http, b"a\n", 0)
    life = put.headers["queue-id"]
    await http.post("/close/q")
    await http.post("/pull/q")
    await http.delete("/queues/q")
    fresh = await http.post("/push/q", content=b"new\n")
    assert fresh.headers["queue-id"] != life
    again = await push(http, b"a\n", 0, queue_id=life)
    assert again.status_code == 204
    assert again.headers["queue-id"] == life
    problem_of(await push(http, b"b\n", 1, queue_id=life), 409, "queue-replaced")
    assert (await http.post("/pull/q")).content == b"new\n"


async def test_an_old_epoch_is_fenced(http: httpx.AsyncClient) -> None:
    await push(http, b"a\n", 0)
    claimed = await push(http, b"", 0, epoch=1)
    assert claimed.headers["producer-bytes"] == "2"
    refused = await push(http, b"b\n", 1)
    problem_of(refused, 403, "stale-epoch")
    assert refused.headers["producer-epoch"] == "1"
    assert (await http.post("/pull/q")).content == b"a\n"


async def test_a_gap_that_does_not_fill_names_what_is_expected() -> None:
    async with serving(limits=Limits(park_seconds=0.05)) as served, client_of(served.url) as http:
        await push(http, b"a\n", 0)
        refused = await push(http, b"z\n", 100_000)
    problem_of(refused, 409, "sequence-gap")
    assert refused.headers["producer-expected-seq"] == "1"
    assert refused.headers["producer-received-seq"] == "100000"
