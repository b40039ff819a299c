"""From a URL to clients of redis-py: one Redis, Sentinel, or a cluster.

redis-py repeats a command whose answer was lost, ten times by default. That is switched
off for every client that is made here: repeating is up to ``link``, which numbers what
it repeats.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException

from batchq.stores.redis.ending import in_any_case
from batchq.stores.redis.keys import DEFAULT_PREFIX

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = {
    "redis": False,
    "rediss": True,
    "unix": False,
    "redis+sentinel": False,
    "rediss+sentinel": True,
    "redis+cluster": False,
    "rediss+cluster": True,
}
"""Known schemes, and whether they speak TLS."""

_LEAST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 600.0
"""Bounds of ``timeout``."""


class BadUrl(ValueError):
    """A URL that can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the URL's query may say.

    Attributes:
        prefix: what all keys begin with.
        connections: to each Redis at most, beside the subscription's.
        timeout: seconds for one answer of Redis.
        sentinel_username, sentinel_password: for the sentinels.
    """

    prefix: str = DEFAULT_PREFIX
    connections: int = 16
    timeout: float = 5.0
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart.

    Attributes:
        kind: ``single``, ``sentinel`` or ``cluster``.
        hosts: where to ask first.
        path: of a Unix socket, instead of hosts.
        service: the name that the sentinels know.
        db: the number of the database.
        username, password: for Redis.
        tls: whether connections are encrypted.
        tls_ca: a PEM file of the authorities to trust, or None for the system's.
        options: what else was said.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_ca: str | None = None
    options: Options = Options()


def parse(url: str) -> Target:
    """Takes a URL apart.

    Raises:
        BadUrl: it can't be read.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadUrl("the host can't be read; an IPv6 address is written [::1]") from None
    tls = _SCHEMES.get(parts.scheme)
    if tls is None:
        raise BadUrl(f"{parts.scheme!r} is not one of {', '.join(_SCHEMES)}")
    netloc, path = parts.netloc, parts.path
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if parts.scheme != "unix" and "@" in "".join((path, parts.fragment, *names)):
        # What was taken for a host or a path may be half a password: it is not repeated.
        raise BadUrl("in a user or password, write / as %2F, ? as %3F and # as %23")
    login, _, where = netloc.rpartition("@")
    username, _, password = login.partition(":")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    kind = parts.scheme.partition("+")[2] or "single"
    common: dict[str, Any] = {
        "kind": kind,
        "username": unquote(username) or None,
        "password": unquote(password) or None,
        "tls": tls,
        "tls_ca": query.pop("ca", None),
        "db": _number(query.pop("db", "0"), "db"),
        "options": _options(query),
    }
    if parts.scheme == "unix":
        return Target(path=unquote(path), **common)
    hosts = _hosts(where, _SENTINEL_PORT if kind == "sentinel" else _PORT)
    inside = path.strip("/")
    if kind == "sentinel":
        service, _, db = inside.partition("/")
        if not service:
            raise BadUrl("name the service: redis+sentinel://host:port,host:port/service")
        common["db"] = _number(db or str(common["db"]), "the database")
        return Target(hosts=hosts, service=unquote(service), **common)
    if inside:
        if kind == "cluster":
            raise BadUrl("a cluster has one database only: leave out what follows the hosts")
        common["db"] = _number(inside, "the database")
    if kind == "single" and len(hosts) > 1:
        raise BadUrl("several hosts need redis+cluster:// or redis+sentinel://")
    return Target(hosts=hosts, **common)


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for item in (text or "localhost").split(","):
        try:
            one = urlsplit(f"//{item}")
            hosts.append((one.hostname or "localhost", one.port or port))
        except ValueError:
            raise BadUrl(f"{item!r} is not a host and a port") from None
    return tuple(hosts)


def _options(query: dict[str, str]) -> Options:
    known = Options()
    options = Options(
        prefix=query.pop("prefix", known.prefix),
        connections=_number(query.pop("connections", str(known.connections)), "connections"),
        timeout=_seconds(query.pop("timeout", str(known.timeout)), "timeout"),
        sentinel_username=query.pop("sentinel_username", None),
        sentinel_password=query.pop("sentinel_password", None),
    )
    if query:
        names = ", ".join(("ca", "db", *(each.name for each in fields(Options))))
        raise BadUrl(f"{next(iter(query))!r} is not known: {names}")
    if not options.prefix or set("{}") & set(options.prefix):
        raise BadUrl("a prefix has at least one character and no braces")
    if options.connections < 1:
        raise BadUrl("connections: at least 1")
    return options


def _seconds(text: str, what: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise BadUrl(f"{what}: {text!r} is not a number") from None
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise BadUrl(f"{what}: from {_LEAST_SECONDS:g} to {_MOST_SECONDS:g} seconds")
    return seconds


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise BadUrl(f"{what}: {text!r} is not a number")
    return int(text)


class Client(Protocol):
    """What is used of redis-py's clients."""

    def execute_command(self, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Sends a command and gives its answer."""

    async def aclose(self) -> None:
        """Closes all connections."""


def _settings(target: Target) -> dict[str, Any]:
    """The settings of every connection."""
    return {
        "username": target.username,
        "password": target.password,
        "protocol": 2,
        "socket_timeout": target.options.timeout,
        "socket_connect_timeout": target.options.timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }


def _tcp(target: Target) -> dict[str, Any]:
    return {"socket_keepalive": True} | (
        {"ssl_ca_certs": target.tls_ca} if target.tls and target.tls_ca else {}
    )


def open_client(target: Target) -> Client:
    """Makes a client; it connects when it is used."""
    settings = _settings(target)
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        return RedisCluster(
            startup_nodes=nodes,
            ssl=target.tls,
            **_tcp(target),
            **settings,
        )
    settings |= {"db": target.db, "retry_on_error": []}
    if target.kind == "sentinel":
        return _sentinel(target, settings)
    if target.path is not None:
        return Redis(unix_socket_path=target.path, **settings)
    return _one(target, *target.hosts[0])


def _one(target: Target, host: str, port: int) -> Redis:
    """A client of one server."""
    return Redis(
        host=host,
        port=port,
        db=target.db,
        ssl=target.tls,
        retry_on_error=[],
        **_tcp(target),
        **_settings(target),
    )


def _sentinel(target: Target, settings: dict[str, Any]) -> Client:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types there
        target.hosts,
        sentinel_kwargs={
            "username": target.options.sentinel_username,
            "password": target.options.sentinel_password,
            "socket_timeout": target.options.timeout,
            "socket_connect_timeout": target.options.timeout,
            "retry": Retry(NoBackoff(), 0),
            "ssl": target.tls,
            **_tcp(target),
        },
    )
    client: Client = sentinel.master_for(
        target.service,
        ssl=target.tls,
        **_tcp(target),
        **settings,
    )
    return client


def is_cluster(client: Client) -> bool:
    """Tells whether keys are on several nodes."""
    return isinstance(client, RedisCluster)


def is_single(client: Client) -> bool:
    """Tells whether its address is known, and need not be asked for."""
    pool = getattr(client, "connection_pool", None)
    return not isinstance(client, RedisCluster) and not isinstance(pool, SentinelConnectionPool)


def owner(client: Client, key: str) -> str:
    """Tells which node of a cluster a key is on, as far as is known; else ""."""
    if not isinstance(client, RedisCluster):
        return ""
    try:
        node = client.get_node_from_key(key)
    except RedisClusterException:
        return ""
    return node.name if node is not None else ""


async def look_around(client: Client) -> None:
    """Lets a cluster's client find out anew which keys are where."""
    if isinstance(client, RedisCluster):
        await client.nodes_manager.initialize()


async def close_client(client: Client) -> None:
    """Closes a client with all that belongs to it."""
    await client.aclose()
    if isinstance(client, RedisCluster):
        # It closes nothing where it meant to look around next; uvloop's loop would wait for
        # what is left open, without end.
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


class _OwnPubSub(PubSub):
    """A subscription on a connection of its own, which is made once and ends with it.

    redis-py makes it anew in whichever task finds it broken, be it the one that listens, one
    that subscribes, or both, and also after it was given back to the pool. Two then use it
    side by side, and a call that the pool gives it to fails, or might get another's answer.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client.connection_pool)
        self._client = client

    async def connect(self) -> None:
        """Makes the connection, unless there is one.

        Raises:
            ConnectionError: it was there, and is lost.
        """
        connection: Any = self.connection
        if connection is None:
            await super().connect()  # type: ignore[no-untyped-call]
        else:
            _check(connection)

    async def parse_response(
        self,
        block: bool = True,
        timeout: float = 0,  # noqa: ASYNC109  the base class's
    ) -> Any:
        """Gives the next thing that is said.

        Raises:
            ConnectionError: the connection is lost.
        """
        _check(self.connection)
        return await super().parse_response(block, timeout)

    async def _execute(self, conn: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        del conn
        return await command(*args, **kwargs)

    async def aclose(self) -> None:
        """Closes all that belongs to it, also where whoever waits for that is cancelled."""
        await in_any_case(self._close_all())

    async def _close_all(self) -> None:
        await super().aclose()  # type: ignore[no-untyped-call]
        await close_client(self._client)


def _check(connection: Any) -> None:
    if connection is None or not connection.is_connected:
        raise RedisConnectionError("the subscription's connection is lost")


async def open_pubsub(client: Client, node: str, target: Target) -> PubSub:
    """Makes a subscription's own connection to a node."""
    if isinstance(client, RedisCluster):
        await client.initialize()
        found = client.get_node(node_name=node) if node else client.get_default_node()
        if found is None:
            raise OSError(f"node {node} is no longer there")
        return _OwnPubSub(_one(target, found.host, int(found.port)))
    return _OwnPubSub(open_client(target))
