"""Fixtures for all tests: servers as processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.leaks import name_transports
from support.servers import ServerProcess

_SKIPPED: list[str] = []

name_transports()

# A shell starts what it runs in the background deaf to Ctrl-C, and so would every command be
# that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _SKIPPED.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where ``BATCHQ_TESTS_NO_SKIP`` is set, a test that did not run is a failure."""
    if _SKIPPED and os.environ.get("BATCHQ_TESTS_NO_SKIP"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.get_terminal_writer().line(
            f"skipped, which counts as failed here: {', '.join(_SKIPPED)}"
        )


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Copies keep what they need for `--resume` apart from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


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
