"""Passwords and TLS between batchq and Redis."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trustme
from support.redis_servers import RedisServer, free_port
from support.servers import ServerProcess


def test_a_password_is_asked_for_and_not_told(lasting: RedisServer) -> None:
    lasting.ask("CONFIG", "SET", "requirepass", "open-sesame")
    with pytest.raises(RuntimeError, match=r"Authentication required|password"):
        ServerProcess("--store", lasting.url).start()
    host, port = lasting.address
    with ServerProcess("--store", f"redis://:open-sesame@{host}:{port}") as server:
        assert httpx.post(f"{server.url}/push/q", content=b"a\n").is_success
        assert httpx.post(f"{server.url}/pull/q").text == "a\n"
        health = httpx.get(f"{server.url}/healthz").text
        assert "open-sesame" not in "".join(server.announced) + server.stderr + health


def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    port = free_port()
    with RedisServer(
        tls_port=port,
        tls_cert_file=tmp_path / "cert.pem",
        tls_key_file=tmp_path / "key.pem",
        tls_ca_cert_file=tmp_path / "ca.pem",
        tls_auth_clients="no",
    ):
        url = f"rediss://127.0.0.1:{port}"
        with ServerProcess("--store", f"{url}?ca={tmp_path / 'ca.pem'}") as server:
            assert httpx.post(f"{server.url}/push/q", content=b"a\n").is_success
            assert httpx.post(f"{server.url}/pull/q?wait=1").text == "a\n"
        for wrong in (url, f"{url}?ca={tmp_path / 'stranger.pem'}"):
            with pytest.raises(RuntimeError, match="certificate"):
                ServerProcess("--store", wrong).start()
