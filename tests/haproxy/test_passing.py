"""How a call is passed on: once, as long as it takes, and while its client is there."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from support.clients import client_of
from support.curl import VERSIONS, started_curl
from support.haproxy import Cluster, HaproxyProcess, wait_until
from support.ports import free_port
from support.problems import problem_of

from batchq.haproxy import Front, Shard, first, render

_MIB = 1024 * 1024


async def until_waiting(http: httpx.AsyncClient, queue: str, pulls: int) -> None:
    """Waits until so many pulls wait at the shard, as it tells itself."""
    async with asyncio.timeout(30):
        while True:
            answer = await http.get(f"/queues/{queue}")
            if answer.status_code == 200 and answer.json()["waiting_pulls"] == pulls:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("retries", [False, True])
async def test_a_pull_is_never_sent_twice(tmp_path: Path, retries: bool) -> None:
    """The shard dies while a pull waits, and is there again: the next line is nobody's."""
    with Cluster(tmp_path, ["a"]) as cluster:
        if retries:  # what the test sees where HAProxy does send again
            config = cluster.haproxy.config
            again = "retries 60\n    retry-on all-retryable-errors"
            config.write_text(
                config.read_text()
                .replace("retries 0\n    retry-on none", again)
                # A retry of what was sent needs a server that is not known to be down.
                .replace("check inter 100ms", "check inter 60s")
            )
            cluster.haproxy.reload()
            cluster.wait("a", up=True)
        shard = cluster.shards["a"].url
        async with client_of(cluster.url) as http, client_of(shard) as direct:
            assert (await http.post("/push/q", content=b"")).is_success
            async with asyncio.TaskGroup() as group:
                pull = group.create_task(http.post("/pull/q?wait=20"))
                await until_waiting(direct, "q", 1)
                cluster.kill("a")
                if not retries:
                    problem = problem_of(await pull, 502, "internal-error")
                    assert "may have done" in problem["detail"]
                cluster.start("a")
                async with client_of(shard) as anew:
                    if retries:
                        await until_waiting(anew, "q", 1)
                    assert (await anew.post("/push/q", content=b"1\n")).is_success
                    left = (await anew.post("/pull/q?wait=0")).content
            assert left == (b"" if retries else b"1\n")


def test_polls_last_as_long_as_the_shards_let_them(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, ["a"], ["--max-wait", "30"], max_wait=2.0, margin=1.0) as cluster,
        httpx.Client(base_url=cluster.url, http1=False, http2=True, timeout=30) as http,
    ):
        within = http.post("/pull/q?wait=2.5")
        assert (within.status_code, within.headers["batchq-shard"]) == (204, "a")
        # The front gives up what is not answered in that time, and says so.
        problem = problem_of(http.post("/pull/q?wait=8"), 504, "internal-error")
        assert "not answer in time" in problem["detail"]
        assert http.post("/push/q", content=b"1\n").is_success
        assert http.post("/pull/q?wait=0").content == b"1\n"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_pull_whose_client_has_left_takes_nothing(cluster: Cluster, version: str) -> None:
    queue = cluster.queue_on("b", f"left-{version}-")
    async with client_of(cluster.shards["b"].url) as direct:
        assert (await direct.post(f"/push/{queue}", content=b"")).is_success
        async with started_curl(*VERSIONS[version], f"{cluster.url}/pull/{queue}?wait=50"):
            await until_waiting(direct, queue, 1)
        await until_waiting(direct, queue, 0)
        assert (await direct.post(f"/push/{queue}", content=b"1\n")).is_success
        assert (await direct.post(f"/pull/{queue}?wait=0")).content == b"1\n"


async def test_a_client_that_does_not_read_stalls_nobody_else(cluster: Cluster) -> None:
    queue = cluster.queue_on("c", "slow-")
    async with client_of(cluster.url) as http, client_of(cluster.url) as other:
        for _ in range(8):
            pushed = await http.post(f"/push/{queue}", content=(b"x" * 1023 + b"\n") * 4096)
            assert pushed.is_success
        assert (await other.get(f"/queues/{queue}")).is_success
        with socket.create_connection(("127.0.0.1", cluster.haproxy.port)) as stuck:
            stuck.sendall(
                f"GET /pull/{queue}?max_bytes={32 * _MIB} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            )
            assert (await asyncio.to_thread(stuck.recv, 12)) == b"HTTP/1.1 200"
            async with asyncio.timeout(20):
                for _ in range(50):
                    assert (await other.get(f"/queues/{queue}")).is_success
                    assert (await http.get(f"/queues/{queue}")).is_success


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[int, list[dict[str, Any]]]]:
    """A server that notes each request's head, and answers with it."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        fields = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        head = {"path": scope["path"], "version": scope["http_version"], "fields": fields}
        seen.append(head)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(head).encode()})

    sock = socket.create_server(("127.0.0.1", 0))
    config, stop = Config(), asyncio.Event()
    config.bind, config.errorlog = [f"fd://{sock.fileno()}"], None

    async def stopped() -> None:
        await stop.wait()

    running: Any = app
    served = asyncio.create_task(serve(running, config, shutdown_trigger=stopped))
    try:
        yield sock.getsockname()[1], seen
    finally:
        stop.set()
        await served
        sock.detach()


async def test_what_a_shard_is_told(tmp_path: Path) -> None:
    async with echoing() as (port, seen):
        shard = Shard("a", "127.0.0.1", port)
        config, own = tmp_path / "haproxy.cfg", free_port()
        front = Front(
            shards=[shard], layout=first(["a"]), bind=f"127.0.0.1:{own}", check=0.1, log_all=True
        )
        config.write_text(render(front))
        haproxy = HaproxyProcess(config, own)
        await asyncio.to_thread(haproxy.__enter__)
        try:
            await asyncio.to_thread(wait_until, lambda: bool(seen))
            check = dict(seen[0]["fields"])
            assert (seen[0]["path"], seen[0]["version"]) == ("/readyz", "2")
            assert check["host"] == "batchq"
            async with client_of(haproxy.url) as http:
                headers = {"X-Forwarded-For": "6.6.6.6", "Queue-Id": "x"}
                answer = await http.post("/pull/q%71?wait=0", headers=headers)
            told = answer.json()
            fields = dict(told["fields"])
            assert (told["path"], told["version"]) == ("/pull/qq", "2")
            assert fields["x-forwarded-for"] == "127.0.0.1"
            assert fields["x-forwarded-proto"] == "http"
            assert fields["queue-id"] == "x"
            assert fields["host"] == f"127.0.0.1:{own}"
        finally:
            await asyncio.to_thread(haproxy.__exit__, None, None, None)
        assert "method=POST path=/pull/q%71" in haproxy.log
        assert "queue=qq" in haproxy.log
