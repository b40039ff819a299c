"""``batchq server``: flags and environment in, a running server out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
from platformdirs import user_data_path

from batchq.app import Settings
from batchq.cli.flags import flag, number, seconds, size
from batchq.cli.store import (
    FSYNC_INTERVAL,
    MIN_FREE,
    REDIS_SCHEMES,
    STORE_MEMORY,
    open_redis,
    open_sqlite,
    without_password,
)
from batchq.cli.streams import StreamError, say
from batchq.http2 import Http2Settings
from batchq.model import Limits
from batchq.server import Listen, ServerSettings, StartError, run
from batchq.stores.base import Store
from batchq.stores.memory import MemoryStore

_F = TypeVar("_F", bound=Callable[..., Any])

_LOG: Final = logging.getLogger("batchq.server")


def _memory(rest: str, limits: Limits, flags: Mapping[str, Any]) -> Store:  # noqa: ARG001
    if rest:
        raise click.BadParameter("memory: takes nothing behind the colon", param_hint="--store")
    return MemoryStore(limits)


def _redis(scheme: str) -> Callable[[str, Limits, Mapping[str, Any]], Store]:
    def make(rest: str, limits: Limits, flags: Mapping[str, Any]) -> Store:  # noqa: ARG001
        return open_redis(f"{scheme}:{rest}", limits)

    return make


_STORES: Final[dict[str, Callable[[str, Limits, Mapping[str, Any]], Store]]] = {
    "memory": _memory,
    "sqlite": open_sqlite,
    **{scheme: _redis(scheme) for scheme in REDIS_SCHEMES},
}
"""By the scheme of ``--store``: makes a store of what follows the colon."""


def _default_store() -> str:
    """A file in the platform's directory for a user's data."""
    return f"sqlite:{user_data_path('batchq', appauthor=False) / 'queues.sqlite'}"


def _open_store(url: str, limits: Limits, flags: Mapping[str, Any]) -> Store:
    scheme, colon, rest = url.partition(":")
    make = _STORES.get(scheme)
    if not colon or make is None:
        known = ", ".join(f"{scheme}:" for scheme in _STORES)
        raise click.BadParameter(
            f"there is no store {without_password(url)!r}: choose of {known}", param_hint="--store"
        )
    return make(rest, limits, flags)


def _size(name: str, default: str, text: str, kind: Any = None) -> Callable[[_F], _F]:
    return flag(name, type=kind or size(), metavar="SIZE", default=default, help=text)


def _seconds(name: str, default: str, text: str, kind: Any = None) -> Callable[[_F], _F]:
    return flag(name, type=kind or seconds(), metavar="SECONDS", default=default, help=text)


def _number(name: str, default: int, text: str) -> Callable[[_F], _F]:
    return flag(name, type=number(1), default=default, help=text)


@click.command()
@flag("host", default="127.0.0.1", help="Address or name to listen on.")
@flag(
    "port", type=number(0, 65535), default=8080, help="TCP port to listen on; 0 takes a free one."
)
@flag(
    "store",
    show_default="sqlite: a file in your data directory",
    help="Where queues are kept: sqlite:PATH, memory: (gone with the process), or shared by many "
    "servers: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://.",
)
@flag(
    "fsync",
    type=click.Choice(["always", "interval"]),
    default="always",
    help="When sqlite: is on the disk: before a push is answered, or every --fsync-interval.",
)
@_seconds(
    "fsync-interval",
    "1",
    "Seconds between syncs for --fsync interval; a day at most.",
    FSYNC_INTERVAL,
)
@_size(
    "min-free",
    "64MiB",
    "Bytes of the disk that pushes to sqlite: leave free for the rest; 0 for none.",
    MIN_FREE,
)
@_size(
    "store-memory",
    "128MiB",
    "Payload bytes that sqlite: keeps in memory for pulls; 16MiB at least.",
    STORE_MEMORY,
)
@_seconds("long-polling-timeout", "5", "Seconds that a pull waits when it does not say.")
@_seconds("max-wait", "60", "Longest wait of a pull or push, in seconds.")
@_size("max-body", "64MiB", "Largest body of a request or answer, in bytes.")
@_size("max-queue-bytes", "1GiB", "Payload bytes that one queue may hold.")
@_number("max-queues", 10_000, "Queues that may exist at once.")
@_number("max-producers", 1_000, "Producers that one queue may know.")
@_number("max-leases", 10_000, "Leases that one queue may have out.")
@_seconds("keep-closed", "3600", "Seconds that the record of a drained closed queue is kept.")
@_number("max-connections", 4_096, "Connections that may be open at once.")
@_size(
    "max-inflight-bytes",
    "512MiB",
    "Bytes of bodies still coming in; at least four times --max-body.",
)
@flag("certfile", type=click.Path(dir_okay=False), help="TLS certificate chain, a PEM file.")
@flag("keyfile", type=click.Path(dir_okay=False), help="Key of the certificate, a PEM file.")
@flag(
    "log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    help="What is logged on stderr.",
)
def server(**flags: Any) -> None:
    """Serve queues over HTTP/1.1 and HTTP/2, both on one port.

    Sizes are bytes, or such as 64MiB, 1GiB (K, M, G mean the same); times are seconds. It
    ends at SIGTERM or Ctrl-C, after having answered what waits; a second one ends it at once.

    Exit codes: 0 after a clean end, 1 when it can't start, 2 for wrong usage, 130 for Ctrl-C
    while it starts.
    """
    logging.basicConfig(
        level=flags["log_level"].upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Hypercorn's own news (where it runs) is told better by the announcement.
    if flags["log_level"].lower() != "debug":
        logging.getLogger("batchq.hypercorn").setLevel(logging.WARNING)
    settings = _settings(flags)
    limits = Limits(
        queue_bytes=flags["max_queue_bytes"],
        queues=flags["max_queues"],
        producers=flags["max_producers"],
        leases=flags["max_leases"],
        keep_closed=flags["keep_closed"],
    )
    url = flags["store"] or _default_store()
    store = _open_store(url, limits, flags)

    def announce(address: str) -> None:
        told = f"batchq listening on {address}"
        try:
            say(f"{told}\nstore: {without_password(url)} ({store.promise.text})")
        except StreamError as error:
            # It serves all the same: who uses it need not read this.
            _LOG.warning("%s: %s", told, str(error) or "nobody reads the standard output")

    try:
        run(store, settings, announce)
    except StartError as error:
        raise click.ClickException(str(error)) from None


def _settings(flags: Mapping[str, Any]) -> ServerSettings:
    """Puts the flags together.

    Raises:
        click.UsageError: they don't go together.
    """
    if (flags["certfile"] is None) != (flags["keyfile"] is None):
        raise click.UsageError("TLS needs both --certfile and --keyfile")
    try:
        return ServerSettings(
            Listen(flags["host"], flags["port"], flags["certfile"], flags["keyfile"]),
            Settings(
                long_polling_timeout=flags["long_polling_timeout"],
                max_wait=flags["max_wait"],
                max_body=flags["max_body"],
            ),
            Http2Settings(
                max_connections=flags["max_connections"], inflight_bytes=flags["max_inflight_bytes"]
            ),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
