"""Fixtures for all tests: servers as processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.servers import ServerProcess


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """One server with the default flags for the whole run: use queue names of your own."""
    with ServerProcess() as process:
        yield process


@pytest.fixture
def make_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers with flags; they are ended after the test."""
    with ExitStack() as stack:

        def make(*flags: str) -> ServerProcess:
            return stack.enter_context(ServerProcess(*flags))

        yield make
