"""Passwords and TLS between batchq and Redis, its sentinels and the nodes of its cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from support.ports import free_port
from support.redis_servers import RedisServer, until
from support.redis_stores import until_tried
from support.servers import ServerProcess

from batchq import errors
from batchq.lines import batch_of
from batchq.model import Pulled, PullRequest, PushRequest
from batchq.stores.redis import RedisStore

SECRET = "open-sesame"


@dataclass(frozen=True)
class Certificates:
    """Files of one authority, and of another that nobody has asked."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Certificates:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
        return cls(folder)

    def settings(self, port: int) -> dict[str, Any]:
        """Of a server that also listens with TLS."""
        return {
            "tls_port": port,
            "tls_cert_file": self.folder / "cert.pem",
            "tls_key_file": self.folder / "key.pem",
            "tls_ca_cert_file": self.folder / "ca.pem",
            "tls_auth_clients": "no",
            "tls_replication": "yes",
        }

    @property
    def query(self) -> str:
        return f"?timeout=2&ca={self.folder / 'ca.pem'}"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.made(tmp_path)


def test_a_password_is_asked_for_and_not_told(lasting: RedisServer) -> None:
    lasting.ask("CONFIG", "SET", "requirepass", SECRET)
    with pytest.raises(RuntimeError, match="Redis asks for a password: put it in the URL"):
        ServerProcess("--store", lasting.url).start()
    host, port = lasting.address
    with pytest.raises(RuntimeError, match="does not know this user and password"):
        ServerProcess("--store", f"redis://:wrong@{host}:{port}").start()
    with ServerProcess("--store", f"redis://:{SECRET}@{host}:{port}") as server:
        assert httpx.post(f"{server.url}/push/q", content=b"a\n").is_success
        assert httpx.post(f"{server.url}/pull/q").text == "a\n"
        health = httpx.get(f"{server.url}/healthz").text
        assert SECRET not in "".join(server.announced) + server.stderr + health


def test_tls_with_an_authority_of_ones_own(certificates: Certificates) -> None:
    port = free_port()
    with RedisServer(**certificates.settings(port)):
        url = f"rediss://127.0.0.1:{port}"
        with ServerProcess("--store", url + certificates.query) as server:
            assert httpx.post(f"{server.url}/push/q", content=b"a\n").is_success
            assert httpx.post(f"{server.url}/pull/q?wait=1").text == "a\n"
        for wrong in (url, f"{url}?ca={certificates.folder / 'stranger.pem'}"):
            with pytest.raises(RuntimeError, match="certificate"):
                ServerProcess("--store", wrong).start()


async def hears_of_another(url: str) -> None:
    """A pull that waits at one server gets what is pushed to another."""
    first, second = RedisStore(url), RedisStore(url)
    await first.start()
    await second.start()
    try:
        await first.push(PushRequest("q", batch_of(b"")))
        pull = asyncio.ensure_future(second.pull(PullRequest("q", wait=60)))
        await until_tried(second, "q")
        await first.push(PushRequest("q", batch_of(b"a\n")))
        async with asyncio.timeout(30):
            answer = await pull
        assert isinstance(answer, Pulled)
    finally:
        await first.stop()
        await second.stop()


async def test_those_who_wait_hear_of_others_in_a_cluster_with_tls(
    certificates: Certificates,
) -> None:
    port = free_port()
    with RedisServer(
        **certificates.settings(port), tls_cluster="yes", cluster_enabled="yes"
    ) as node:
        node.ask("CLUSTER", "ADDSLOTS", *range(16_384))
        until(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"), "cluster_state:ok")
        await hears_of_another(f"rediss+cluster://127.0.0.1:{port}{certificates.query}")


@pytest.fixture
def watched(certificates: Certificates) -> Iterator[tuple[int, int]]:
    """A Redis and its sentinel, both with TLS and with passwords of their own: TLS ports."""
    port, sentinel_port = free_port(), free_port()
    with RedisServer(**certificates.settings(port)) as redis:
        watch = f"sentinel monitor m 127.0.0.1 {port} 1\nsentinel auth-pass m {SECRET}\n"
        redis.ask("CONFIG", "SET", "requirepass", SECRET)
        with RedisServer(directive=watch, **certificates.settings(sentinel_port)) as sentinel:
            until(lambda: sentinel.ask("SENTINEL", "CKQUORUM", "m"), "the sentinel sees it")
            sentinel.ask("ACL", "SETUSER", "default", "resetpass", ">watchword")
            yield port, sentinel_port


async def test_sentinels_are_spoken_to_with_tls_and_their_own_password(
    certificates: Certificates, watched: tuple[int, int]
) -> None:
    _, port = watched
    url = f"rediss+sentinel://:{SECRET}@127.0.0.1:{port}/m{certificates.query}"
    await hears_of_another(f"{url}&sentinel_password=watchword")
    for wrong in (url, f"{url}&sentinel_password={SECRET}"):
        store = RedisStore(wrong)
        with pytest.raises(errors.StoreUnavailable, match="they ask for a password"):
            await store.start()
        await store.stop()
