"""What a configuration is made of: shards, their layout, and what may be chosen beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import xxhash

from batchq.haproxy.layout import Layout, LayoutError
from batchq.haproxy.words import check_bind, check_log

SHARD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*(?!\d+\Z){_LABEL}")
"""A name whose last part is no number: that would be an address."""

RESERVED: Final = 16
"""Of a shard's connections: health checks (one for each HAProxy process), and whoever asks the
shard itself, as ``batchq haproxy move`` does."""

KEPT_CONNECTIONS: Final = 2
"""Connections to shards that rest and are kept for a client's next request."""

_MOST_THREADS: Final = 64
"""HAProxy's own limit, on machines of 64 bits."""

_LEAST_CHECK: Final = 0.01
_LEAST_ANSWER: Final = 1.0


@dataclass(frozen=True, slots=True)
class Shard:
    """A server.

    Attributes:
        name: what it is called for good: its slots go with the name, not with the address.
        host: an address or a host name.
        port: 1 to 65535.

    Raises:
        LayoutError: one of them can't be right.
    """

    name: str
    host: str
    port: int

    def __post_init__(self) -> None:
        """Refuses what would be something else in a configuration."""
        if SHARD_NAME.fullmatch(self.name) is None:
            raise LayoutError(
                f"{self.name!r} is not a shard's name: use 1 to 32 of A-Z a-z 0-9 . _ -, "
                "the first of them a letter or digit"
            )
        if not self.is_address and _HOST.fullmatch(self.host) is None:
            raise LayoutError(
                f"{self.host!r} of shard {self.name} is neither a host nor an address"
            )
        if not 1 <= self.port <= 65535:
            raise LayoutError(f"{self.port} of shard {self.name} is not a port")

    @property
    def is_address(self) -> bool:
        """The host is an address and need not be resolved."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return "%" not in self.host  # a zone

    @property
    def place(self) -> tuple[str, int]:
        """Host and port, the same for the same shard however its address is written."""
        host = str(ip_address(self.host)) if self.is_address else self.host.lower()
        return host, self.port

    @property
    def endpoint(self) -> str:
        """Host and port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where it is asked without HAProxy."""
        return f"http://{self.endpoint}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Queues that are being moved: their calls are answered 503.

    Attributes:
        slots: all queues of these, but those that stay where they are.
        queues: these as well.
    """

    slots: Collection[int] = ()
    queues: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """All that a configuration is made of. Times are seconds, sizes bytes.

    Attributes:
        shards: the servers, in the order in which they are written.
        layout: where the queues live.
        hold: what is being moved.
        bind: where to listen without TLS, as HAProxy's ``bind`` has it, or nothing.
        bind_tls: the same with TLS.
        certfile: PEM file with the certificate chain and its key; needed for ``bind_tls``.
        max_wait: the servers' longest wait.
        margin: how long beyond that an answer may take: a numbered push may be kept for the
            ones before it for 30 s, and then wait for room.
        max_connections: clients at once; as many requests at once may be neither numbered nor
            leased, pulls apart.
        max_pulls: pulls without a lease at once.
        shard_connections: that each shard takes from this HAProxy: its ``--max-connections``.
        resolve: ask the name servers for the shards' hosts again and again.
        check: between two health checks.
        threads: of HAProxy, or None: one for each core.
        log: a target of HAProxy's ``log``, or nothing.
        log_all: requests that went well are logged too.
        stats_socket: a path, or nothing.
    """

    shards: Sequence[Shard]
    layout: Layout
    hold: Hold = field(default_factory=Hold)
    bind: str = "127.0.0.1:8080"
    bind_tls: str = ""
    certfile: str = ""
    max_wait: float = 60.0
    margin: float = 40.0
    max_connections: int = 1000
    max_pulls: int = 1500
    shard_connections: int = 4096
    resolve: bool = False
    check: float = 1.0
    threads: int | None = None
    log: str = "stdout format raw daemon"
    log_all: bool = False
    stats_socket: str = ""

    def __post_init__(self) -> None:
        """Refuses what can't work.

        Raises:
            LayoutError: a slot or a queue has no shard, there is nothing to listen on, or
                limits and times don't fit together.
        """
        self._check_shards()
        self._check_bind()
        self._check_numbers()

    def _check_shards(self) -> None:
        names = {shard.name for shard in self.shards}
        if len(names) != len(self.shards):
            raise LayoutError("two shards have the same name")
        places: dict[tuple[str, int], str] = {}
        for shard in self.shards:
            other = places.setdefault(shard.place, shard.name)
            if other != shard.name:
                raise LayoutError(f"shards {other} and {shard.name} are at one address")
        for owner in {*self.layout.owners, *self.layout.stays.values()} - names:
            raise LayoutError(f"there are slots or queues of shard {owner}, which is not there")

    def _check_bind(self) -> None:
        if not self.bind and not self.bind_tls:
            raise LayoutError("there is nothing to listen on: give --bind, --bind-tls or both")
        if bool(self.bind_tls) != bool(self.certfile):
            raise LayoutError("TLS needs both --bind-tls and --certfile")
        for addresses in filter(None, (self.bind, self.bind_tls)):
            check_bind(addresses)
        if self.log:
            check_log(self.log)

    def _check_numbers(self) -> None:
        if self.max_wait + self.margin < _LEAST_ANSWER:
            raise LayoutError(
                "--max-wait and --margin are no second together: nothing would be answered"
            )
        if self.check < _LEAST_CHECK:
            raise LayoutError(f"--check is at least {_LEAST_CHECK:g} seconds")
        if self.threads is not None and self.threads > _MOST_THREADS:
            raise LayoutError(f"--threads is at most {_MOST_THREADS}, as HAProxy has it")
        if self.shard_requests <= self.max_pulls:
            raise LayoutError(
                f"--max-connections {self.max_connections} leaves {max(self.shard_requests, 0)} "
                f"requests at once for a shard that takes {self.shard_connections} connections, "
                f"and --max-pulls {self.max_pulls} would use them up: raise --shard-connections, "
                "with the shards' own --max-connections, or lower the others"
            )

    @property
    def shard_requests(self) -> int:
        """Requests that a shard is given at once, at most.

        Each may need a connection of its own, and resting clients keep some: all together are no
        more than the shard takes, so that the health check always finds one.
        """
        kept = KEPT_CONNECTIONS * self.max_connections
        return self.shard_connections - RESERVED - kept

    @property
    def names(self) -> list[str]:
        """The shards' names, in their order."""
        return [shard.name for shard in self.shards]

    def own_socket(self, name: str) -> str:
        """A socket that no other HAProxy of this machine has: HAProxy's way to itself."""
        told = f"{self.bind} {self.bind_tls}".encode()
        return f"abns@batchq-{name}-{xxhash.xxh3_64_hexdigest(told)}"
