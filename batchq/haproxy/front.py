"""What a configuration is made of: shards, their layout, and what may be chosen beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import xxhash

from batchq.haproxy.layout import Layout, LayoutError

SHARD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")


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
            leased.
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
    max_connections: int = 4000
    check: float = 1.0
    threads: int | None = None
    log: str = "stdout format raw daemon"
    log_all: bool = False
    stats_socket: str = ""

    def __post_init__(self) -> None:
        """Refuses what can't work.

        Raises:
            LayoutError: a slot or a queue has no shard, or there is nothing to listen on.
        """
        names = {shard.name for shard in self.shards}
        if len(names) != len(self.shards):
            raise LayoutError("two shards have the same name")
        for owner in {*self.layout.owners, *self.layout.stays.values()} - names:
            raise LayoutError(f"there are slots or queues of shard {owner}, which is not there")
        if not self.bind and not self.bind_tls:
            raise LayoutError("there is nothing to listen on: give --bind, --bind-tls or both")
        if bool(self.bind_tls) != bool(self.certfile):
            raise LayoutError("TLS needs both --bind-tls and --certfile")

    @property
    def names(self) -> list[str]:
        """The shards' names, in their order."""
        return [shard.name for shard in self.shards]

    @property
    def once(self) -> str:
        """A socket that no other HAProxy of this machine has: HAProxy's way to itself."""
        told = f"{self.bind} {self.bind_tls}".encode()
        return f"abns@batchq-once-{xxhash.xxh3_64_hexdigest(told)}"
