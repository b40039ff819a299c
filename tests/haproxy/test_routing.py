"""Which shard a call reaches, and what the front answers by itself."""

from __future__ import annotations

import asyncio
import re
import socket
from urllib.parse import quote

import httpx
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.curl import VERSIONS, curl
from support.haproxy import Cluster
from support.problems import problem_in

from batchq.model import QUEUE_NAME
from batchq_client import Client

VERBS = ("push", "pull", "ack", "release", "extend", "close")


@pytest.fixture(scope="module")
def front(cluster: Cluster) -> httpx.Client:
    return httpx.Client(base_url=cluster.url, http1=False, http2=True, trust_env=False)


@pytest.fixture(scope="module", autouse=True)
def _closed(front: httpx.Client) -> object:
    yield
    front.close()


def asked(front: httpx.Client, path: str, method: str = "GET") -> httpx.Response:
    """Asks for a path as it is: httpx would tidy it."""
    url = httpx.URL(str(front.base_url)).copy_with(raw_path=path.encode("ascii"))
    return front.request(method, url)


@given(st.from_regex(QUEUE_NAME, fullmatch=True).map(lambda name: name.strip("\n")), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_name_reaches_its_shard_however_it_is_written(
    cluster: Cluster, front: httpx.Client, name: str, data: st.DataObject
) -> None:
    encoded = "".join(
        f"%{ord(char):02{data.draw(st.sampled_from('xX'))}}" if data.draw(st.booleans()) else char
        for char in name
    )
    answer = asked(front, f"/queues/{encoded}?producer=p")
    assert answer.status_code == 404
    assert answer.json()["code"] == "no-such-queue"
    assert repr(name[:40])[:-1] in answer.json()["detail"]  # the shard saw the name that was hashed
    assert answer.headers["batchq-shard"] == cluster.layout.shard_of(name)


@pytest.mark.parametrize("verb", [*VERBS, "queues"])
def test_every_call_on_a_queue_goes_by_its_name(
    cluster: Cluster, front: httpx.Client, verb: str
) -> None:
    for name in cluster.shards:
        queue = cluster.queue_on(name, f"{verb}-")
        query = {"pull": "?wait=0", "ack": "?lease=x", "release": "?lease=x"}.get(verb, "")
        query = "?lease=x&seconds=1" if verb == "extend" else query
        answer = asked(front, f"/{verb}/{queue}{query}", "DELETE" if verb == "queues" else "POST")
        assert answer.headers["batchq-shard"] == name
        assert answer.status_code in (200, 204, 404, 409), answer.text


@given(
    st.one_of(
        st.text(min_size=1, max_size=140).map(lambda text: quote(text, safe="")),
        st.sampled_from(
            ["%", "%zz", "a%00", "a%0A", "%0Aa", "a%2Fb", "%252e", "a;b", "a%23b", "a+b"]
        ),
    ).filter(lambda text: not re.fullmatch(r"[A-Za-z0-9._-]*", text))
)
@settings(max_examples=100, deadline=None)
def test_what_is_no_name_is_refused_before_any_shard(front: httpx.Client, segment: str) -> None:
    answer = asked(front, f"/push/{segment}", "POST")
    if "batchq-shard" in answer.headers:  # it is a name, written in another way
        assert QUEUE_NAME.fullmatch(httpx.URL(f"http://x/{segment}").path[1:])
        return
    problem_in(
        answer.content, answer.headers["content-type"], answer.status_code, 400, "bad-request"
    )


@pytest.mark.parametrize(
    "path",
    [
        *("/push", "/push/", "/push/a/b", "/pull/a/", "/queues/a/b", "/queues/a/", "//queues/a"),
        *("/push//a", "/%70ush/a", "/push%2Fa", "/queues%2Fa", "/x%20y", "//", "/./push//a"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_nothing_else_looks_like_a_queue_to_a_shard(
    front: httpx.Client, path: str, method: str
) -> None:
    answer = asked(front, path, method)
    assert "batchq-shard" not in answer.headers
    problem_in(answer.content, answer.headers["content-type"], answer.status_code, 404, "not-found")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/queues"])
def test_calls_without_a_name_reach_any_shard_and_say_which(
    cluster: Cluster, front: httpx.Client, path: str
) -> None:
    answers = [front.get(path) for _ in range(9)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["batchq-shard"] for answer in answers} == set(cluster.shards)


def test_the_page_is_of_any_shard_and_says_which(cluster: Cluster, front: httpx.Client) -> None:
    answers = [front.get("/") for _ in range(9)]
    assert {answer.headers["batchq-shard"] for answer in answers} == set(cluster.shards)
    # Whatever it is that the shards have there.
    with httpx.Client(base_url=cluster.shards["a"].url, http1=False, http2=True) as direct:
        assert {answer.content for answer in answers} == {direct.get("/").content}


def test_a_shard_is_chosen_by_its_name(cluster: Cluster, front: httpx.Client) -> None:
    for name in cluster.shards:
        queue = cluster.queue_on(name, "chosen-")
        assert front.post(f"/push/{queue}", content=b"1\n").is_success
        answer = front.get("/queues", params={"shard": name})
        assert answer.headers["batchq-shard"] == name
        assert queue in {one["queue"] for one in answer.json()["queues"]}
    # Beside it, parameters are what they were.
    for query, other in (("shard=a&x=1", "x"), ("x=1&shard=a", "x"), ("shard=a&shard=b", "shard")):
        refused = front.get(f"/queues?{query}")
        assert f"{other!r} is not a parameter" in refused.json()["detail"]


@pytest.mark.parametrize("name", ["d", "", "A", "a%00", "a%0Ab", "shard_a"])
def test_an_unknown_shard_is_404_that_names_them_all(front: httpx.Client, name: str) -> None:
    answer = asked(front, f"/queues?shard={name}")
    told = answer.json()
    assert (answer.status_code, told["code"]) == (404, "no-such-shard")
    assert told["shards"] == ["a", "b", "c"]
    assert "a, b, c" in told["detail"]


def test_a_queue_s_shard_is_not_chosen(front: httpx.Client) -> None:
    answer = front.post("/push/q?shard=a", content=b"1\n")
    assert answer.status_code == 400
    assert "'shard' is not a parameter here" in answer.json()["detail"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_curl_through_both_versions(cluster: Cluster, version: str) -> None:
    flags = VERSIONS[version]
    queue = cluster.queue_on("b", f"curl-{version}-")
    pushed = await curl(*flags, "--data-binary", "a\nb", f"{cluster.url}/push/{queue}")
    assert pushed.status == 200
    assert pushed.version == {"http1": "1.1", "http2": "2"}[version]
    got = await curl(*flags, "-H", "Connection: close", f"{cluster.url}/pull/{queue}")
    assert (got.status, got.body) == (200, b"a\nb\n")
    assert got.headers["batchq-shard"] == "b"


@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
async def test_tls_speaks_both_by_alpn(
    cluster: Cluster, certfile: object, flag: str, version: str
) -> None:
    authority = str(certfile).replace("front.pem", "ca.pem")
    answer = await curl(flag, "--cacert", authority, f"{cluster.tls_url}/healthz")
    assert (answer.status, answer.version) == (200, version)


async def test_an_upgrade_to_h2c_is_left_out(cluster: Cluster) -> None:
    for arguments in ((), ("-d", "1")):
        answer = await curl("--http2", *arguments, f"{cluster.url}/push/{cluster.queue_on('a')}")
        assert answer.version == "1.1"
        assert answer.headers["batchq-shard"] == "a"
        assert answer.status == (200 if arguments else 405)
    answer = await curl("--http2", f"{cluster.url}/pull/{cluster.queue_on('a')}?wait=0")
    assert (answer.status, answer.body) == (200, b"1\n")


@pytest.mark.parametrize("version", VERSIONS)
async def test_header_fields_have_a_limit(cluster: Cluster, version: str) -> None:
    flags = (*VERSIONS[version], f"{cluster.url}/queues")
    assert (await curl("-H", f"X: {'a' * 15_000}", *flags)).status == 200
    over = await curl("-H", f"X: {'a' * 17_000}", *flags)
    assert over.status == 431
    problem_in(over.body, over.headers["content-type"], over.status, 431, "header-too-large")


async def test_bytes_that_are_no_request_are_400(cluster: Cluster) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.haproxy.port)
    writer.write(b"not http\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()
    many = [word for number in range(120) for word in ("-H", f"x-{number}: 1")]
    assert (await curl("--http1.1", *many, f"{cluster.url}/queues")).status == 400


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", [(), ("-H", "Expect:")])
async def test_a_body_that_is_too_large_is_told_so(
    cluster: Cluster, version: str, how: tuple[str, ...]
) -> None:
    body = b"x" * 79 + b"\n"
    answer = await curl(
        *VERSIONS[version], *how, "--data-binary", "@-", f"{cluster.url}/push/large",
        stdin=body * (70 * 1024 * 1024 // len(body)),
    )  # fmt: skip
    assert answer.status == 413
    problem_in(answer.body, answer.headers["content-type"], answer.status, 413, "too-large")


def test_connect_is_no_method_here(cluster: Cluster) -> None:
    with socket.create_connection(("127.0.0.1", cluster.haproxy.port)) as raw:
        raw.sendall(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: GET, POST, DELETE\r\n" in answer


async def test_the_client_over_tls(
    cluster: Cluster, authority: trustme.CA, certfile: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certfile).replace("front.pem", "ca.pem"))
    async with Client(cluster.tls_url) as client:
        queue = cluster.queue_on("c", "tls-")
        await client.push(queue, b"1\n2\n")
        assert [one.queue for one in [await client.queue(queue)]] == [queue]
