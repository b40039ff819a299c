from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.redis_servers import RedisServer
from support.servers import ServerProcess

Two = tuple[ServerProcess, ServerProcess]


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """One that nobody harms: use prefixes of your own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def lasting() -> Iterator[RedisServer]:
    """One that has all it answered when it is started again."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def two_on(make_server: Callable[..., ServerProcess]) -> Callable[[str], Two]:
    """Starts two batchq servers on one Redis."""

    def start(url: str) -> Two:
        return make_server("--store", url), make_server("--store", url)

    return start
