from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme
from support.curl import VERSIONS, curl, file_with, started_curl
from support.problems import problem_in
from support.servers import LocalServer, ServerProcess, serving
from support.waiting import until_waiting

from batchq.app import Settings
from batchq.model import Batch, PushRequest

ODD = b"a\r\n\n\0\xff\xfe\nlast"


@pytest.fixture(params=sorted(VERSIONS))
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """curl's flags, for each protocol."""
    return VERSIONS[str(request.param)]


async def test_lines_go_and_come_byte_for_byte(
    served: LocalServer, flags: tuple[str, ...], tmp_path: Path
) -> None:
    put = await curl(*flags, "--data-binary", file_with(tmp_path, ODD), f"{served.url}/push/q")
    assert put.status == 200
    assert put.version == ("2" if "--http2-prior-knowledge" in flags else "1.1")
    assert put.headers["batch-lines"] == "4"
    got = await curl(*flags, f"{served.url}/pull/q")
    assert got.status == 200
    assert got.body == ODD + b"\n"
    assert got.headers["batch-lines"] == "4"


async def test_data_without_binary_strips_newlines(
    served: LocalServer, flags: tuple[str, ...], tmp_path: Path
) -> None:
    await curl(*flags, "-d", file_with(tmp_path, b"a\nb\n"), f"{served.url}/push/q")
    assert (await curl(*flags, f"{served.url}/pull/q")).body == b"ab\n"


async def test_an_upload_of_unknown_length(served: LocalServer, flags: tuple[str, ...]) -> None:
    body = b"line\n" * 200_000
    put = await curl(*flags, "-X", "POST", "-T", "-", f"{served.url}/push/q", stdin=body)
    assert put.headers["batch-lines"] == "200000"
    got = await curl(*flags, f"{served.url}/pull/q?max_bytes={len(body)}")
    assert got.body == body


async def test_problems_are_read_in_a_terminal(served: LocalServer, flags: tuple[str, ...]) -> None:
    for arguments, status, code in (
        (("-X", "GET"), 405, "method-not-allowed"),
        (("--data-binary", "a", "-H", "Content-Type: image/png"), 415, "unsupported-media-type"),
        (("-F", "file=a"), 415, "unsupported-media-type"),
    ):
        answer = await curl(*flags, *arguments, f"{served.url}/push/q")
        problem_in(answer.body, answer.headers["content-type"], answer.status, status, code)


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunks"])
async def test_a_body_above_the_limit_is_told(
    flags: tuple[str, ...], tmp_path: Path, known: bool
) -> None:
    async with serving(settings=Settings(max_body=1_000_000)) as local:
        where = f"{local.url}/push/q"
        body = b"x" * 8_000_000
        if known:
            answer = await curl(*flags, "--data-binary", file_with(tmp_path, body), where)
        else:
            answer = await curl(*flags, "-X", "POST", "-T", "-", where, stdin=body)
        fields = problem_in(
            answer.body, answer.headers["content-type"], answer.status, 413, "too-large"
        )
        assert "1000000" in fields["detail"]
        exact = await curl(*flags, "--data-binary", file_with(tmp_path, body[:999_999]), where)
        assert exact.status == 200


async def test_curl_killed_while_it_waits_takes_nothing(
    served: LocalServer, flags: tuple[str, ...]
) -> None:
    await served.store.push(PushRequest("q", Batch(b"", 0)))
    async with started_curl(*flags, f"{served.url}/pull/q?wait=60"):
        await until_waiting(served.store, "q", 1)
    await until_waiting(served.store, "q", 0)
    await curl(*flags, "--data-binary", "a\n", f"{served.url}/push/q")
    assert (await curl(*flags, f"{served.url}/pull/q?wait=0")).body == b"a\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """An authority's certificate, and a server's chain and key."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    paths = (directory / "ca.pem", directory / "chain.pem", directory / "key.pem")
    authority.cert_pem.write_to_path(paths[0])
    for blob in issued.cert_chain_pems:
        blob.write_to_path(paths[1], append=True)
    issued.private_key_pem.write_to_path(paths[2])
    return paths


@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
async def test_tls_speaks_both_by_alpn(
    certificates: tuple[Path, Path, Path], flag: str, version: str
) -> None:
    authority, chain, key = certificates
    with ServerProcess("--certfile", str(chain), "--keyfile", str(key)) as server:
        assert server.url.startswith("https://")
        tls = (flag, "--cacert", str(authority))
        put = await curl(*tls, "--data-binary", "a", f"{server.url}/push/q")
        assert put.status == 200
        assert put.version == version
        got = await curl(*tls, "-H", "Accept: application/json", f"{server.url}/pull/q")
        assert json.loads(got.body)["lines"] == ["a"]
        assert server.stop() == 0
        assert server.stderr == ""
