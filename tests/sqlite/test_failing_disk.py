"""A server whose disk fails at a sync: what its clients, its probes and its log say of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlite.peer import Peer, push, take
from support.accounting import Account
from support.servers import ServerProcess

_LARGE = 70_000
"""Bytes of a batch that goes to the file of lines, whose sync comes before the commit's."""


def _batch(seq: int, size: int) -> bytes:
    return b"%d " % seq + b"x" * size + b"\n"


def _failing(path: Path, sync: int) -> list[str]:
    """Has the n-th sync of a file fail, once: that the disk works again must not help."""
    inject = f"inject=fdatasync:error=EIO:when={sync}"
    output = str(path.with_suffix(".strace"))
    quiet = ("strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", output)
    return [*quiet, "-P", str(path), "-e", "trace=fdatasync", "-e", inject]


@pytest.mark.parametrize(("suffix", "size"), [("-wal", 100), ("-wal", _LARGE), ("-lines", _LARGE)])
def test_a_sync_that_fails_is_seen_by_all(path: Path, suffix: str, size: int) -> None:
    account, flags = Account(), ("--store", f"sqlite:{path}")
    with ServerProcess(*flags) as server, Peer(server.url) as peer:
        assert push(peer, account, 0, _batch(0, size)) == 200
    seq = 1
    under = _failing(Path(f"{path}{suffix}"), 4)
    with ServerProcess(*flags, under=under) as server, Peer(server.url) as peer:
        while seq < 10 and push(peer, account, seq, _batch(seq, size)) == 200:
            seq += 1
        assert 3 <= seq <= 5
        for target in ("/push/q", "/push/other", "/pull/q?wait=0"):
            status, _, body = peer.call(target, b"more\n" if "push" in target else b"")
            assert status == 503
            assert b"store-unavailable" in body
        for probe in ("/healthz", "/readyz"):
            status, _, body = peer.call(probe, method="GET")
            assert status == 503
            assert b"has failed and stopped" in body
    assert f"the store {path} has failed and stopped" in server.stderr
    with ServerProcess(*flags) as server, Peer(server.url) as peer:
        assert peer.call("/readyz", method="GET")[0] == 200
        for again in range(seq, seq + 3):
            assert push(peer, account, again, _batch(again, size)) in {200, 204}
        while take(peer, account):
            pass
    report = account.report()
    report.assert_clean()
    assert report.batches == seq + 3
