"""The page on shards, as a program: its blocks are run in a folder of the test's own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
from support.copies import environment
from support.haproxy import wait_until
from support.ports import free_port

from batchq.haproxy import Layout, read
from batchq_client import Client
from batchq_client.errors import Unavailable

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "shards.md"
PORTS = ("8080", "8101", "8102", "8103", "8104")


class Documented:
    """The page's commands, run in a folder, on ports that are free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in PORTS}
        self.url = f"http://127.0.0.1:{self.ports['8080']}"
        blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
        self.start, self.prepare, self.hold, self.move, self.use = map(self._ported, blocks)
        self._pids = folder / "pids"

    def _ported(self, block: str) -> str:
        return re.sub(r"\b(8080|810[1-4])\b", lambda match: self.ports[match[1]], block)

    def run(self, block: str, status: int = 0, path: Path | None = None) -> str:
        """Runs a block as a script; what it starts goes on.

        Args:
            block: the commands.
            status: the exit code to expect.
            path: a folder of commands that go before all others.
        """
        # The shell's own variables are gone with it: only the files are left.
        script = f"set -e\n{block}\njobs -p >> {self._pids}\n"
        bin_ = Path(sys.executable).parent
        with (self.folder / "output").open("w+") as output:
            done = subprocess.run(
                ["sh", "-c", script],  # as the page's blocks say
                cwd=self.folder,
                env=environment({"PATH": f"{path or bin_}:{bin_}:{os.environ['PATH']}"}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
            )
            output.seek(0)
            said = output.read()
        assert done.returncode == status, said
        return said

    def layout(self, name: str) -> Layout:
        """The layout of a configuration in the folder."""
        return read((self.folder / name).read_text()).layout

    def up(self, *shards: str) -> None:
        """Waits until HAProxy passes calls on to these shards."""

        def all_up() -> bool:
            with httpx.Client(base_url=self.url, trust_env=False) as http:
                try:
                    return all(
                        http.get("/readyz", params={"shard": name}).status_code == 200
                        for name in shards
                    )
                except httpx.TransportError:
                    return False

        wait_until(all_up)

    def stop(self, port: str) -> None:
        """Ends the shard that has this port on the page."""
        own = self.ports[port].encode()
        for pid in self._started():
            if not is_gone(pid) and own in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGTERM)
                wait_until(partial(is_gone, pid))

    def end(self) -> None:
        """Ends all that was started."""
        pids = self._started()
        haproxy = self.folder / "haproxy.pid"
        pids += map(int, haproxy.read_text().split() if haproxy.exists() else ())
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in pids:
            wait_until(partial(is_gone, pid))

    def _started(self) -> list[int]:
        return [*map(int, self._pids.read_text().split())] if self._pids.exists() else []


def is_gone(pid: int) -> bool:
    """A process has ended, whether or not somebody has asked for its end."""
    with suppress(OSError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


def lines(stem: str, count: int) -> bytes:
    """Numbered lines."""
    return b"".join(b"%s %d\n" % (stem.encode(), number) for number in range(count))


async def queues_of(url: str, shard: str) -> list[str]:
    """The queues of one shard, none of them twice."""
    async with httpx.AsyncClient(base_url=url, http1=False, http2=True) as http:
        told = (await http.get("/queues", params={"shard": shard})).json()["queues"]
    return [one["queue"] for one in told]


async def unheld(client: Client, queue: str) -> None:
    """Waits until this client's connection is served by the newest configuration."""
    async with asyncio.timeout(30):
        while True:
            try:
                await client.queue(queue)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return
