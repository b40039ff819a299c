"""httpx over this transport against servers that are not ours."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from transport.http_clients import multiplex_client
from transport.real_peers import hypercorn, nghttpd

from batchq_client.transport import AT_ONCE_EXTENSION, HTTP2NotSupported, MultiplexTransport

APP = "asgi_app:app"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with hypercorn(APP) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return authority


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_http2_is_spoken(url: str, client: httpx.AsyncClient) -> None:
    response = await client.get(url)
    assert response.http_version == "HTTP/2"
    assert response.content == b"hello 2"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
async def test_bodies_come_back_as_they_were_sent(
    url: str, client: httpx.AsyncClient, size: int
) -> None:
    body = bytes(n * 7 % 251 for n in range(min(size, 1000))) * (size // 1000 + 1)
    body = body[:size]
    assert (await client.post(f"{url}/echo", content=body)).content == body


async def test_a_body_from_an_iterator(url: str, client: httpx.AsyncClient) -> None:
    async def pieces() -> Any:
        for number in range(100):
            yield b"%d\n" % number * 500
            yield b""

    response = await client.post(f"{url}/echo", content=pieces())
    assert response.content == b"".join([b"%d\n" % number * 500 for number in range(100)])


async def test_a_form_with_a_file(url: str, client: httpx.AsyncClient) -> None:
    files = {"file": ("name.txt", b"x" * 100_000)}
    response = await client.post(f"{url}/echo", files=files, data={"field": "value"})
    assert response.content.count(b"x" * 100_000) == 1
    assert b"value" in response.content


async def test_an_iterator_that_fails_fails_its_request_with_its_own_error(
    url: str, client: httpx.AsyncClient
) -> None:
    async def pieces() -> Any:
        yield b"some"
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        await client.post(f"{url}/echo", content=pieces())
    assert (await client.get(url)).status_code == 200


async def test_an_answer_read_line_by_line(url: str, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", f"{url}/stream/3000") as response:
        lines = [line async for line in response.aiter_lines()]
    assert lines == [str(number) for number in range(3000)]


async def test_the_server_is_told_when_an_answer_is_left(
    url: str, client: httpx.AsyncClient
) -> None:
    for _ in range(20):
        async with client.stream("GET", f"{url}/endless") as response:
            async for _line in response.aiter_lines():
                break
    async with asyncio.timeout(10):
        while (await client.get(f"{url}/told")).content != b"20":
            pass


async def test_redirects_are_followed(url: str, client: httpx.AsyncClient) -> None:
    response = await client.get(f"{url}/redirect/3", follow_redirects=True)
    assert response.content == b"hello 2"
    assert [r.status_code for r in response.history] == [302] * 3


async def test_a_redirect_takes_the_body_along(url: str, client: httpx.AsyncClient) -> None:
    response = await client.post(f"{url}/again", content=b"body" * 5000, follow_redirects=True)
    assert response.content == b"body" * 5000
    assert [r.status_code for r in response.history] == [307]


async def test_a_redirect_cannot_take_a_consumed_body_along(
    url: str, client: httpx.AsyncClient
) -> None:
    async def pieces() -> Any:
        yield b"once"

    with pytest.raises(httpx.StreamConsumed):
        await client.post(f"{url}/again", content=pieces(), follow_redirects=True)
    assert (await client.get(url)).status_code == 200


async def test_cookies_are_kept(url: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{url}/cookie")).content == b""
    assert (await client.get(f"{url}/cookie")).content == b"seen=1"


async def test_head_has_no_body(url: str, client: httpx.AsyncClient) -> None:
    response = await client.head(url)
    assert response.headers["content-length"] == "7"
    assert response.content == b""


async def test_a_timeout_leaves_the_others_alone(url: str, client: httpx.AsyncClient) -> None:
    others = [asyncio.create_task(client.get(f"{url}/wait/0.3")) for _ in range(5)]
    with pytest.raises(httpx.ReadTimeout):
        await client.get(f"{url}/wait/20", timeout=0.1)
    assert [(await task).content for task in others] == [b"waited"] * 5


async def test_an_authority_and_secrets_are_sent(url: str, client: httpx.AsyncClient) -> None:
    response = await client.post(f"{url}/echo", content=b"x", headers={"authorization": "t"})
    assert response.status_code == 200


@pytest.mark.parametrize("field", [("x-a", "b\r\nc: d"), ("bad name", "x"), ("x", " padded")])
async def test_fields_that_cannot_be_sent_harm_nobody(
    url: str, client: httpx.AsyncClient, field: tuple[str, str]
) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        await client.get(url, headers=dict([field]))
    response = await client.get(url, headers={"x-connection": "1", "connection": "close"})
    assert response.status_code == 200


async def test_2000_requests_at_once_over_100_streams() -> None:
    async with nghttpd("-m", "100", "-d", str(Path(__file__).parent)) as port:
        async with multiplex_client(max_connections=1) as client:
            url = f"http://127.0.0.1:{port}/asgi_app.py"
            answers = await asyncio.gather(*[client.get(url) for _ in range(2000)])
        assert {r.content for r in answers} == {
            (Path(__file__).parent / "asgi_app.py").read_bytes()
        }


async def test_nghttpd_down_and_up(tmp_path: Path, client: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(content)
    async with nghttpd("-d", str(tmp_path)) as port:
        url = f"http://127.0.0.1:{port}/file"
        answers = await asyncio.gather(*[client.get(url) for _ in range(4)])
        assert all(r.content == content for r in answers)
        uploads = [client.post(url, content=content) for _ in range(4)]
        assert {r.status_code for r in await asyncio.gather(*uploads)} == {200}


async def test_tls_with_alpn(tmp_path: Path, trusting: ssl.SSLContext) -> None:
    content = bytes(range(256)) * 8000
    (tmp_path / "file").write_bytes(content)
    tls = (tmp_path / "key.pem", tmp_path / "cert.pem")
    async with (
        nghttpd("-d", str(tmp_path), tls=tls) as port,
        httpx.AsyncClient(transport=MultiplexTransport(verify=trusting)) as client,
    ):
        response = await client.get(f"https://localhost:{port}/file")
        assert response.http_version == "HTTP/2"
        assert response.content == content
        upload = await client.post(f"https://localhost:{port}/file", content=content)
        assert upload.status_code == 200


async def test_a_certificate_that_is_not_trusted(
    tmp_path: Path, authority: trustme.CA, client: httpx.AsyncClient
) -> None:
    async with nghttpd(tls=(tmp_path / "key.pem", tmp_path / "cert.pem")) as port:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://localhost:{port}/")
        async with httpx.AsyncClient(transport=MultiplexTransport(verify=False)) as careless:
            assert (await careless.get(f"https://localhost:{port}/")).status_code == 404


@pytest.mark.parametrize("protocols", [["http/1.1"], []])
async def test_a_tls_peer_without_http2(
    authority: trustme.CA, trusting: ssl.SSLContext, protocols: list[str]
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    if protocols:
        context.set_alpn_protocols(protocols)
    async with http1_server(context) as port:
        url = f"https://localhost:{port}/"
        async with httpx.AsyncClient(transport=MultiplexTransport(verify=trusting)) as strict:
            with pytest.raises(HTTP2NotSupported, match="ALPN"):
                await strict.get(url)
        lenient = MultiplexTransport(verify=trusting, http1=True)
        async with httpx.AsyncClient(transport=lenient) as client:
            for _ in range(2):
                response = await client.get(url)
                assert (response.http_version, response.content) == ("HTTP/1.1", b"old")


async def test_a_plain_peer_without_http2() -> None:
    async with http1_server(None) as port:
        url = f"http://127.0.0.1:{port}/"
        async with httpx.AsyncClient(transport=MultiplexTransport()) as strict:
            with pytest.raises(HTTP2NotSupported):
                await strict.get(url)
        async with httpx.AsyncClient(transport=MultiplexTransport(http1=True)) as client:
            assert (await client.post(url, content=b"body")).content == b"old"


def http1_server(context: ssl.SSLContext | None) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nold")
            await writer.drain()
        except OSError:
            pass  # a client that hung up when it saw the protocol
        finally:
            writer.close()

    @asynccontextmanager
    async def run() -> AsyncIterator[int]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            yield server.sockets[0].getsockname()[1]

    return run()


@pytest.mark.parametrize("size", [1, 70_000, 5 * 1024 * 1024])
async def test_a_body_at_once_is_one_piece_whatever_the_windows(
    tmp_path: Path, client: httpx.AsyncClient, size: int
) -> None:
    body = (b"0123456789\n" * (size // 11 + 1))[:size]
    (tmp_path / "body").write_bytes(body)
    async with nghttpd("-d", str(tmp_path)) as port:
        url = f"http://127.0.0.1:{port}/body"
        request = client.build_request("GET", url, extensions={AT_ONCE_EXTENSION: True})
        response = await client.send(request, stream=True)
        assert [piece async for piece in response.aiter_raw()] == [body]
        assert (await client.get(url)).content == body
