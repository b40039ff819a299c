"""What never reaches the application is answered as the application answers."""

from __future__ import annotations

import json

import httpx
import pytest
from http2.h2_support import Site, peer, serving
from hyperframe.frame import HeadersFrame
from support.servers import ServerProcess


@pytest.mark.parametrize(
    ("version", "size"),
    # HTTP/1.1 has another limit: Hypercorn's own.
    [("HTTP/2", 20_000), ("HTTP/1.1", 70_000)],
)
def test_fields_above_the_limit_get_a_problem(version: str, size: int) -> None:
    second = version == "HTTP/2"
    with (
        ServerProcess() as running,
        httpx.Client(base_url=running.url, http1=not second, http2=second) as client,
    ):
        answer = client.get("/queues", headers={"x": "v" * size})
        assert answer.http_version == version
        assert answer.status_code == 431
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "header-too-large"
        assert client.get("/queues").status_code == 200


async def test_a_tunnel_gets_a_problem() -> None:
    with ServerProcess() as running:
        async with peer(int(running.url.rpartition(":")[2])) as client:
            client.send(client.request(1, method="CONNECT"))
            fields = (await client.until(HeadersFrame, 1)).fields
            body = await client.body(1)
    assert fields[":status"] == "501"
    assert fields["content-type"] == "application/problem+json"
    assert int(fields["content-length"]) == len(body)
    assert json.loads(body)["code"] == "not-implemented"


async def test_without_an_application_that_says_more_there_is_a_status_alone() -> None:
    async with serving(Site()) as server, peer(server.port) as client:
        client.send(client.request(1, method="CONNECT"))
        fields = (await client.until(HeadersFrame, 1)).fields
        assert (fields[":status"], fields["content-length"]) == ("501", "0")
