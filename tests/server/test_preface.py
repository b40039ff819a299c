"""HTTP/2's first bytes, cut off on the way: a network's fault, and no request in HTTP/1.1."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from support.servers import ServerProcess

from batchq.http2.frames import PREFACE


def answer(server: ServerProcess, sent: bytes) -> bytes:
    """All that comes back for bytes that end."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port or 0), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.read()


@pytest.mark.parametrize("size", range(len(PREFACE) + 1))
def test_a_preface_that_is_cut_off_is_not_answered_in_another_protocol(
    server: ServerProcess, size: int
) -> None:
    assert not answer(server, PREFACE[:size]).startswith(b"HTTP/")


def test_what_is_no_preface_is_told_so(server: ServerProcess) -> None:
    assert answer(server, b"PRX * HT").startswith(b"HTTP/1.1 400 ")
