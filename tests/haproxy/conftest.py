from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.documented import Documented
from support.haproxy import Cluster


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certfile(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The front's chain and key in one file, as HAProxy wants it; beside it `ca.pem`."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "front.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "front.pem"


@pytest.fixture(scope="module")
def cluster(certfile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three shards for tests that do no harm to them: use queue names of your own."""
    with Cluster(tmp_path_factory.mktemp("cluster"), certfile=certfile) as running:
        yield running


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Documented]:
    """The page's commands, on ports that are free."""
    documented = Documented(tmp_path)
    try:
        yield documented
    finally:
        documented.end()
