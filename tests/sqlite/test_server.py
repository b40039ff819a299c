"""The server as a process, on a file: killed at random, and with far more lines than memory."""

from __future__ import annotations

import http.client
import random
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from time import sleep

from sqlite.peer import Peer, note, numbers, push, take
from support.accounting import Account
from support.servers import ServerProcess

_KILLS = 50
_MIB = 1 << 20
_MEMORY = 300 * _MIB


def _batch(seq: int) -> bytes:
    return b"".join(b"%d.%d\n" % (seq, n) for n in range(40_000))


def test_nothing_is_lost_or_twice_over_many_kills(path: Path) -> None:
    chance, account = random.Random(5), Account()
    seq, unanswered = 0, 0
    while unanswered < _KILLS:
        with ServerProcess("--store", f"sqlite:{path}") as server, Peer(server.url) as peer:
            for _ in range(chance.randrange(1, 3)):
                assert push(peer, account, seq, _batch(seq)) in {200, 204}
                seq += 1
            take(peer, account)
            account.attempted("w", seq, _batch(seq))
            peer.connection.request("POST", "/push/q", _batch(seq), numbers(seq))
            sleep(chance.random() * 0.004)
            server.kill()
            try:
                status, headers, _ = peer.answer()
            except (OSError, http.client.HTTPException):
                unanswered += 1
            else:
                assert status == 200
                note(account, seq, status, headers)
                seq += 1
    with ServerProcess("--store", f"sqlite:{path}") as server, Peer(server.url) as peer:
        assert push(peer, account, seq, _batch(seq)) in {200, 204}
        while take(peer, account):
            pass
    report = account.report()
    report.assert_clean()
    assert report.batches == seq + 1


def test_a_store_that_fails_is_red_and_logged(path: Path) -> None:
    flags = ("--store", f"sqlite:{path}")
    with ServerProcess(*flags) as server, Peer(server.url) as peer:
        assert peer.call("/push/q", b"to be spoilt\n")[0] == 200
        for probe in ("/healthz", "/readyz"):
            assert peer.call(probe, method="GET")[0] == 200
    path.write_bytes(path.read_bytes().replace(b"to be spoilt", b"to be SPOILT"))
    with ServerProcess(*flags) as server, Peer(server.url) as peer:
        assert peer.call("/pull/q?wait=0")[0] == 503
        assert peer.call("/push/q", b"more\n")[0] == 503
        for probe in ("/healthz", "/readyz"):
            status, _, body = peer.call(probe, method="GET")
            assert status == 503
            assert b"has failed and stopped" in body
    assert f"the store {path} has failed and stopped" in server.stderr


def test_without_a_store_it_is_a_file_in_the_data_directory(tmp_path: Path) -> None:
    env = {"BATCHQ_STORE": "", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    with ServerProcess(env=env) as server, Peer(server.url) as peer:
        assert peer.call("/push/q", b"a\n")[0] == 200
    (file,) = tmp_path.rglob("queues.sqlite")
    (said,) = [line for line in server.announced if line.startswith("store: ")]
    assert said.startswith(f"store: sqlite:{file} (")
    assert "on the disk before a push is answered" in said
    with ServerProcess(env=env) as server, Peer(server.url) as peer:
        assert peer.call("/pull/q?wait=0")[2] == b"a\n"


def test_below_the_reserve_only_pushes_are_refused(path: Path) -> None:
    flags = ("--store", f"sqlite:{path}")
    with ServerProcess(*flags) as server, Peer(server.url) as peer:
        assert peer.call("/push/q", b"a\nb\n", numbers(0))[0] == 200
    with ServerProcess(*flags, "--min-free", "1000000GiB") as server, Peer(server.url) as peer:
        status, headers, body = peer.call("/push/q", b"c\n", numbers(1))
        assert status == 507
        assert b"disk-full" in body
        assert int(headers["Retry-After"]) > 0
        assert peer.call("/push/q", b"a\nb\n", numbers(0))[0] == 204
        assert peer.call("/readyz", method="GET")[0] == 200
        status, headers, body = peer.call("/pull/q?wait=0&lease=60&max=1")
        assert (status, body) == (200, b"a\n")
        assert peer.call(f"/ack/q?lease={headers['Batch-Lease']}")[0] == 204
        assert peer.call("/pull/q?wait=0")[2] == b"b\n"


def test_a_backlog_far_larger_than_memory(path: Path) -> None:
    """Neither what it asks the system for nor what it touches may be more."""
    batches = 2048
    flags = ("--store", f"sqlite:{path}", "--max-queue-bytes", "4GiB")
    with (
        ServerProcess(*flags) as server,
        ExitStack() as peers,
        ThreadPoolExecutor(4) as pool,
    ):
        _hold(server.pid, _MEMORY)
        local = threading.local()

        def peer() -> Peer:
            if not hasattr(local, "peer"):
                local.peer = peers.enter_context(Peer(server.url))
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
        assert _memory(server.pid, "VmHWM") < _MEMORY
    # What a pull costs does not grow with how much was drained before.
    steps = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(work)]
    for first, last in zip(steps[1], steps[-1], strict=True):
        assert last < 1.5 * first, steps


def _work(pid: int) -> tuple[int, int, int]:
    """Bytes that a process has read and written so far, and its calls that wrote."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]), int(counts["wchar"]), int(counts["syscw"])


def _hold(pid: int, size: int) -> None:
    """Has a process get no memory beyond a size, in bytes.

    The limit is not on the address space (RLIMIT_AS), which files that are mapped count for, but
    on what is writable and its own. Of that, what it has reserved so far and not touched, such as
    threads' stacks, is not counted.
    """
    limit = size - _memory(pid, "VmRSS") + _memory(pid, "VmData")
    resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))


def _memory(pid: int, name: str) -> int:
    """A row of what the system tells of a process, in bytes; VmHWM is the most it has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kib) * 1024
