"""The server as a process, on a file: killed at random, and with far more lines than memory."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from email.message import Message
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Self
from urllib.parse import urlsplit

from support.servers import ServerProcess

_KILLS = 50
_MIB = 1 << 20


class _Peer:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def call(
        self,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> tuple[int, Message, bytes]:
        self.connection.request(method, target, body, dict(headers or {}))
        return self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def answer(self) -> tuple[int, Message, bytes]:
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()


def _numbers(seq: int) -> dict[str, str]:
    return {"Producer-Id": "w", "Producer-Epoch": "0", "Producer-Seq": str(seq)}


def _batch(seq: int) -> bytes:
    return b"".join(b"%d.%d\n" % (seq, n) for n in range(40_000))


def test_nothing_is_lost_or_twice_over_many_kills(path: Path) -> None:
    chance = random.Random(5)
    seq, unanswered, taken = 0, 0, bytearray()
    while unanswered < _KILLS:
        with ServerProcess("--store", f"sqlite:{path}") as server, _Peer(server.url) as peer:
            for _ in range(chance.randrange(1, 3)):
                status, _, _ = peer.call("/push/q", _batch(seq), _numbers(seq))
                assert status in {200, 204}
                seq += 1
            _take(peer, taken)
            peer.connection.request("POST", "/push/q", _batch(seq), _numbers(seq))
            sleep(chance.random() * 0.004)
            server.kill()
            try:
                status, _, _ = peer.answer()
            except (OSError, http.client.HTTPException):
                unanswered += 1
            else:
                assert status == 200
                seq += 1
    with ServerProcess("--store", f"sqlite:{path}") as server, _Peer(server.url) as peer:
        status, _, _ = peer.call("/push/q", _batch(seq), _numbers(seq))
        assert status in {200, 204}
        while _take(peer, taken):
            pass
    assert bytes(taken) == b"".join(_batch(n) for n in range(seq + 1))


def _take(peer: _Peer, taken: bytearray) -> bool:
    """Takes a batch as a reader that writes by position, and acknowledges it."""
    status, headers, data = peer.call("/pull/q?wait=0&lease=60")
    if status == 204:
        return False
    assert status == 200
    assert int(headers["Batch-Position"]) == len(taken)
    taken += data
    status, _, _ = peer.call(f"/ack/q?lease={headers['Batch-Lease']}")
    assert status == 204
    return True


def test_a_store_that_fails_is_red_and_logged(path: Path) -> None:
    flags = ("--store", f"sqlite:{path}")
    with ServerProcess(*flags) as server, _Peer(server.url) as peer:
        assert peer.call("/push/q", b"to be spoilt\n")[0] == 200
        for probe in ("/healthz", "/readyz"):
            assert peer.call(probe, method="GET")[0] == 200
    path.write_bytes(path.read_bytes().replace(b"to be spoilt", b"to be SPOILT"))
    with ServerProcess(*flags) as server, _Peer(server.url) as peer:
        assert peer.call("/pull/q?wait=0")[0] == 503
        assert peer.call("/push/q", b"more\n")[0] == 503
        for probe in ("/healthz", "/readyz"):
            status, _, body = peer.call(probe, method="GET")
            assert status == 503
            assert b"has failed and stopped" in body
    assert f"the store {path} has failed and stopped" in server.stderr


def test_without_a_store_it_is_a_file_in_the_data_directory(tmp_path: Path) -> None:
    env = {"BATCHQ_STORE": "", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    with ServerProcess(env=env) as server, _Peer(server.url) as peer:
        assert peer.call("/push/q", b"a\n")[0] == 200
    (file,) = tmp_path.rglob("queues.sqlite")
    (said,) = [line for line in server.announced if line.startswith("store: ")]
    assert said.startswith(f"store: sqlite:{file} (")
    assert "on the disk before a push is answered" in said
    with ServerProcess(env=env) as server, _Peer(server.url) as peer:
        assert peer.call("/pull/q?wait=0")[2] == b"a\n"


def test_below_the_reserve_only_pushes_are_refused(path: Path) -> None:
    flags = ("--store", f"sqlite:{path}")
    with ServerProcess(*flags) as server, _Peer(server.url) as peer:
        assert peer.call("/push/q", b"a\nb\n", _numbers(0))[0] == 200
    with ServerProcess(*flags, "--min-free", "1000000GiB") as server, _Peer(server.url) as peer:
        status, headers, body = peer.call("/push/q", b"c\n", _numbers(1))
        assert status == 507
        assert b"disk-full" in body
        assert int(headers["Retry-After"]) > 0
        assert peer.call("/push/q", b"a\nb\n", _numbers(0))[0] == 204
        assert peer.call("/readyz", method="GET")[0] == 200
        status, headers, body = peer.call("/pull/q?wait=0&lease=60&max=1")
        assert (status, body) == (200, b"a\n")
        assert peer.call(f"/ack/q?lease={headers['Batch-Lease']}")[0] == 204
        assert peer.call("/pull/q?wait=0")[2] == b"b\n"


def test_a_backlog_far_larger_than_memory(path: Path) -> None:
    batches = 2048
    flags = ("--store", f"sqlite:{path}", "--max-queue-bytes", "4GiB")
    with (
        ServerProcess(*flags) as server,
        ExitStack() as peers,
        ThreadPoolExecutor(4) as pool,
    ):
        local = threading.local()

        def peer() -> _Peer:
            if not hasattr(local, "peer"):
                local.peer = peers.enter_context(_Peer(server.url))
            return local.peer  # type: ignore[no-any-return]

        data = b"x" * 1023 + b"\n"

        def push(_number: int) -> int:
            return peer().call("/push/q", data * 1024)[0]

        def pull(_number: int) -> int:
            status, headers, body = peer().call("/pull/q?wait=0&lease=60")
            assert status == 200
            peer().call(f"/ack/q?lease={headers['Batch-Lease']}")
            return len(body)

        assert set(pool.map(push, range(batches))) == {200}
        assert Path(f"{path}-lines").stat().st_size > batches * _MIB * 0.9
        work = [_work(server.process.pid)]
        for _ in range(8):
            assert sum(pool.map(pull, range(batches // 8))) == batches // 8 * _MIB
            work.append(_work(server.process.pid))
        assert peer().call("/pull/q?wait=0")[0] == 204
        assert _peak(server.process.pid) < 300 * _MIB
    # What a pull costs does not grow with how much was drained before.
    steps = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(work)]
    for first, last in zip(steps[1], steps[-1], strict=True):
        assert last < 1.5 * first, steps


def _work(pid: int) -> tuple[int, int, int]:
    """Bytes that a process has read and written so far, and its calls that wrote."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]), int(counts["wchar"]), int(counts["syscw"])


def _peak(pid: int) -> int:
    """The most memory that a process has held at once, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kib) * 1024
