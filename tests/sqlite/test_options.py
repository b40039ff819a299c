"""How a store in a file is asked for: the path, and the flags beside it."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from sqlite.sqlite_support import opened, pull_all, push, tidied
from support.servers import ServerProcess

from batchq.cli.server import server as server_command
from batchq.stores.sqlite import Options


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--store", "sqlite::memory:"), "memory:"),
        (("--store", "sqlite:"), "needs the path of a file"),
        (("--store", "sqlite:~nobody-of-this-name/q"), "home directory"),
        (("--fsync-interval", "1e12"), "--fsync-interval"),
        (("--fsync-interval", "86401"), "more than 86400 seconds"),
        (("--store-memory", "15MiB"), "--store-memory"),
        (("--min-free", "-1"), "--min-free"),
    ],
)
def test_what_means_nothing_is_refused(flags: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(server_command, flags, terminal_width=1000)
    assert done.exit_code == 2
    assert says in done.output


def test_the_home_directory_and_no_reserve(tmp_path: Path) -> None:
    flags = ("--store", "sqlite:~/q.sqlite", "--min-free", "0")
    with ServerProcess(*flags, env={"HOME": str(tmp_path)}) as server:
        peer = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        peer.request("POST", "/push/q", b"a line\n")
        assert peer.getresponse().status == 200
        peer.close()
    assert (tmp_path / "q.sqlite").exists()


async def test_the_longest_interval(path: Path) -> None:
    """A wait that no system takes is cut to one that it does."""
    async with opened(path, options=Options(fsync="interval", sync_seconds=1e12)) as store:
        for _ in range(2):
            await push(store, b"a line\n")
            await tidied(store)
        assert store.failure() is None
        assert await pull_all(store) == b"a line\na line\n"
