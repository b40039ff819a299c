"""Copies over https://, and servers that can't be talked to, however often it is tried."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from support.copies import batchq, said
from support.proxy import Proxy, address_of
from support.servers import ServerProcess
from support.stream import assert_identical

from batchq_client import Client, errors
from batchq_client.copy.retry import is_passing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return authority


@pytest.fixture(scope="module")
def secure(folder: Path, authority: trustme.CA) -> Iterator[ServerProcess]:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    files = ("--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem"))
    with ServerProcess("--host", "localhost", *files) as server:
        yield server


@pytest.fixture
def trusting(folder: Path) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(folder / "authority.pem")}


def port(server: ServerProcess) -> str:
    return server.url.rpartition(":")[2]


def test_there_and_back(secure: ServerProcess, tmp_path: Path, trusting: dict[str, str]) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    source.write_bytes(b"".join(b"%07d\n" % n for n in range(300_000)) + b"end")
    queue = f"https://localhost:{port(secure)}/there-and-back"
    for sides in ((source, queue), (queue, target)):
        done = batchq("copy", *sides, env=trusting)
        assert (done.returncode, said(done)) == (0, "")
    assert_identical(source, target)


@pytest.mark.parametrize("reads", [False, True])
def test_a_certificate_of_an_unknown_authority(
    secure: ServerProcess, tmp_path: Path, *, reads: bool
) -> None:
    source = tmp_path / "s"
    source.write_bytes(b"a\n")
    url = f"https://localhost:{port(secure)}/q"
    done = batchq("copy", *((url, tmp_path / "d") if reads else (source, url)))
    assert done.returncode == 1
    assert "SSL_CERT_FILE" in said(done)


def test_a_certificate_for_another_name(
    secure: ServerProcess, tmp_path: Path, trusting: dict[str, str]
) -> None:
    url = f"https://127.0.0.1:{port(secure)}/q"
    done = batchq("copy", url, tmp_path / "d", env=trusting)
    assert done.returncode == 1
    assert "use a name that stands in it" in said(done)
    assert "SSL_CERT_FILE" not in said(done)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_authorities_that_can_not_be_read(tmp_path: Path, content: bytes | None) -> None:
    named = tmp_path / "authority.pem"
    if content is not None:
        named.write_bytes(content)
    env = {"SSL_CERT_FILE": str(named)}
    done = batchq("copy", "https://localhost:1/q", tmp_path / "d", env=env)
    assert done.returncode == 1
    assert f"can't use SSL_CERT_FILE={named}" in said(done)


def test_http_to_a_port_of_tls(secure: ServerProcess, tmp_path: Path) -> None:
    done = batchq("copy", f"http://localhost:{port(secure)}/q", tmp_path / "d")
    assert done.returncode == 1
    assert "it speaks TLS; write https://" in said(done)


def test_https_to_a_port_without_tls(server: ServerProcess, tmp_path: Path) -> None:
    done = batchq("copy", f"https://localhost:{port(server)}/q", tmp_path / "d")
    assert done.returncode == 1
    assert "does not speak TLS on this port; try http://" in said(done)


@asynccontextmanager
async def peer(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Something that reads a little, answers as told, and closes; gives its host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer:
            await reader.read(100)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def fault(scheme: str, at: AbstractAsyncContextManager[str]) -> errors.ClientError:
    async with at as address, Client(f"{scheme}://{address}") as client:
        with pytest.raises(errors.ClientError) as caught:
            await client.healthz()
    return caught.value


async def test_a_server_without_http2() -> None:
    error = await fault("http", peer(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert isinstance(error, errors.Incompatible)
    assert not is_passing(error, repeatable=True)
    assert "does not speak HTTP/2" in str(error)


async def test_a_server_without_http2_over_tls(
    folder: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    error = await fault("https", peer(b"?", context))
    assert isinstance(error, errors.Incompatible)
    assert "does not offer HTTP/2" in str(error)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_that_ends_is_a_fault_that_may_pass(scheme: str) -> None:
    error = await fault(scheme, peer(b""))
    assert type(error) is errors.NotSent
    assert is_passing(error, repeatable=False)


async def test_what_has_answered_before_may_come_back(server: ServerProcess) -> None:
    async with (
        peer(b"SSH-2.0-x\r\n") as other,
        Proxy(address_of(server.url)) as proxy,
        Client(proxy.url) as client,
    ):
        await client.healthz()
        proxy.target = address_of(f"http://{other}")
        proxy.cut_all()
        kinds = set()
        while errors.NotSent not in kinds:
            with pytest.raises(errors.NetworkFault) as caught:
                await client.healthz()
            kinds.add(type(caught.value))
    assert errors.Incompatible not in kinds
    assert "does not speak HTTP/2" in str(caught.value)
