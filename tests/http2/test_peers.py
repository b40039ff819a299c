"""Clients that others wrote: curl, nghttp, h2load, httpx; in clear and over TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import trustme
from http2.h2_support import Server, Site, answer, hello, serving, size

BODY = bytes(range(256)) * 4096 * 3  # 3 MiB, so that windows and frames are many


async def large(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
    await answer(send, BODY)


async def pieces(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for at in range(0, len(BODY), 100_001):
        piece = bytearray(BODY[at : at + 100_001])
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def echo(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    seen = {key: scope[key] for key in ("method", "path", "scheme", "http_version")}
    seen |= {"query": scope["query_string"].decode(), "headers": fields}
    await answer(send, json.dumps(seen).encode())


def site() -> Site:
    return Site({"/": hello, "/size": size, "/large": large, "/pieces": pieces, "/echo é": echo})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(site()) as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secure(authority: trustme.CA, tmp_path: Path) -> AsyncIterator[Server]:
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files: dict[str, Any] = {
        "certfile": str(tmp_path / "cert.pem"),
        "keyfile": str(tmp_path / "key.pem"),
    }
    async with serving(site(), **files) as running:
        yield running


async def run(*command: str, stdin: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), 30)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("way", ["--http1.1", "--http2", "--http2-prior-knowledge"])
async def test_curl_in_clear(server: Server, way: str) -> None:
    url = f"http://127.0.0.1:{server.port}"
    assert await run("curl", "-sS", way, url) == b"hello"
    assert await run("curl", "-sS", way, f"{url}/large") == BODY
    assert await run("curl", "-sS", way, f"{url}/pieces") == BODY
    sent = await run("curl", "-sS", way, "--data-binary", "@-", f"{url}/size", stdin=BODY)
    assert sent == b"%d" % len(BODY)
    assert await run("curl", "-sS", way, "-I", f"{url}/large")


async def test_curl_sees_http2_after_an_upgrade_and_by_prior_knowledge(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/echo%20%C3%A9?a=b%20c"
    for way, version in (("--http2", "2"), ("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")):
        seen = json.loads(await run("curl", "-sS", way, "-b", "a=1; b=2", url))
        assert seen["http_version"] == version
        assert (seen["method"], seen["path"], seen["query"]) == ("GET", "/echo é", "a=b%20c")
        assert seen["headers"]["host"] == f"127.0.0.1:{server.port}"
        assert seen["headers"]["cookie"] == "a=1; b=2"


@pytest.mark.parametrize("way", ["--http1.1", "--http2"])
async def test_curl_over_tls(secure: Server, tmp_path: Path, way: str) -> None:
    trusted = ("curl", "-sS", "--cacert", str(tmp_path / "ca.pem"), way)
    url = f"https://localhost:{secure.port}"
    assert await run(*trusted, "-w", "%{http_version}", url) == b"hello" + (
        b"2" if way == "--http2" else b"1.1"
    )
    assert await run(*trusted, f"{url}/large") == BODY
    sent = await run(*trusted, "--data-binary", "@-", f"{url}/size", stdin=BODY)
    assert sent == b"%d" % len(BODY)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nghttp(server: Server, secure: Server, tmp_path: Path, scheme: str) -> None:
    port = server.port if scheme == "http" else secure.port
    url = f"{scheme}://127.0.0.1:{port}"
    assert await run("nghttp", url) == b"hello"
    assert await run("nghttp", f"{url}/large") == BODY
    (tmp_path / "body").write_bytes(BODY)
    sent = await run("nghttp", "-d", str(tmp_path / "body"), f"{url}/size")
    assert sent == b"%d" % len(BODY)


@pytest.mark.parametrize("path", ["/", "/large", "/size"])
async def test_h2load(server: Server, tmp_path: Path, path: str) -> None:
    (tmp_path / "body").write_bytes(BODY)
    upload = ("-d", str(tmp_path / "body")) if path == "/size" else ()
    out = await run(
        "h2load", "-n60", "-c3", "-m7", *upload, f"http://127.0.0.1:{server.port}{path}"
    )
    assert b"60 succeeded, 0 failed" in out


@pytest.mark.parametrize("path", ["/", "/large", "/size"])
async def test_h2load_over_tls(secure: Server, tmp_path: Path, path: str) -> None:
    (tmp_path / "body").write_bytes(BODY)
    upload = ("-d", str(tmp_path / "body")) if path == "/size" else ()
    url = f"https://127.0.0.1:{secure.port}{path}"
    out = await run("h2load", "-n60", "-c3", "-m7", *upload, url)
    assert b"60 succeeded, 0 failed" in out


async def test_stock_httpx_in_clear(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(http1=False, http2=True) as client:
        answers = await asyncio.gather(*(client.get(url) for _ in range(50)))
        assert {answer.text for answer in answers} == {"hello"}
        assert (await client.get(f"{url}/large")).content == BODY
        sent = await client.post(f"{url}/size", content=BODY)
        assert sent.text == str(len(BODY))
        assert sent.http_version == "HTTP/2"


async def test_stock_httpx_over_tls(secure: Server, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    url = f"https://localhost:{secure.port}"
    async with httpx.AsyncClient(http2=True, verify=context) as client:
        got = await client.get(f"{url}/pieces")
        assert (got.http_version, got.content) == ("HTTP/2", BODY)
        assert (await client.post(f"{url}/size", content=BODY)).text == str(len(BODY))


class PlainH2:
    """h2 on a socket, as its documentation has it, with nothing around it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._h2.initiate_connection()

    async def _events(self) -> list[Any]:
        self._writer.write(self._h2.data_to_send())
        received = await self._reader.read(65_536)
        assert received, "the connection ended"
        return list(self._h2.receive_data(received))

    async def exchange(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request and give the body of its answer."""
        stream_id = self._h2.get_next_available_stream_id()
        pseudo = {":method": method, ":scheme": "http", ":authority": "a", ":path": path}
        self._h2.send_headers(stream_id, list(pseudo.items()), end_stream=not body)
        answered: list[bytes] = []
        sent = 0
        while True:
            while sent < len(body) and (
                most := min(
                    self._h2.local_flow_control_window(stream_id),
                    self._h2.max_outbound_frame_size,
                )
            ):
                piece = body[sent : sent + most]
                sent += len(piece)
                self._h2.send_data(stream_id, piece, end_stream=sent == len(body))
            for event in await self._events():
                if isinstance(event, h2.events.DataReceived):
                    answered.append(event.data)
                    size = event.flow_controlled_length
                    self._h2.acknowledge_received_data(size, stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self._writer.write(self._h2.data_to_send())
                    return b"".join(answered)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_plain_h2(server: Server, secure: Server, authority: trustme.CA, scheme: str) -> None:
    port, tls = server.port, None
    if scheme == "https":
        port, tls = secure.port, ssl.create_default_context()
        authority.configure_trust(tls)
        tls.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("localhost", port, ssl=tls)
    async with asyncio.timeout(30):
        client = PlainH2(reader, writer)
        assert await client.exchange("GET", "/") == b"hello"
        assert await client.exchange("GET", "/large") == BODY
        assert await client.exchange("POST", "/size", BODY) == b"%d" % len(BODY)
        assert await client.exchange("GET", "/pieces") == BODY
    writer.close()
    await writer.wait_closed()
