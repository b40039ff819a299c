"""``batchq server``: flags and environment in, a running server out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
from platformdirs import user_data_path

from batchq.app import Settings
from batchq.cli.store import (
    FSYNC_INTERVAL,
    MIN_FREE,
    REDIS_SCHEMES,
    STORE_MEMORY,
    open_redis,
    open_sqlite,
    without_password,
)
from batchq.http2 import Http2Settings
from batchq.model import GIB, KIB, MIB, Limits
from batchq.server import Listen, ServerSettings, StartError, run
from batchq.stores.base import Store
from batchq.stores.memory import MemoryStore

_F = TypeVar("_F", bound=Callable[..., Any])

_SIZE: Final = re.compile(r"([0-9]{1,18})\s*(KiB|MiB|GiB|K|M|G|B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB}


def _size(text: str) -> int:
    """Reads bytes: plain, or as KiB, MiB, GiB (or K, M, G for the same)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"{text!r} is not a size: give bytes, or such as 64MiB or 1G")
    return int(match[1]) * _UNITS[(match[2] or "")[:1].upper()]


def _seconds(text: str) -> float:
    """Reads seconds from 0 up, decimals allowed."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < float("inf"):
        raise click.BadParameter(f"{text!r} is not a number of seconds, such as 5 or 0.5")
    return number


_METAVARS: Final[dict[Any, str]] = {
    **dict.fromkeys((_size, MIN_FREE, STORE_MEMORY), "SIZE"),
    **dict.fromkeys((_seconds, FSYNC_INTERVAL), "SECONDS"),
    int: "NUMBER",
}


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


def _flag(
    name: str, kind: Any, default: Any, text: str, shown: str | None = None
) -> Callable[[_F], _F]:
    """A flag with its ``BATCHQ_…`` in the environment; ``shown`` tells its default in words."""
    return click.option(
        f"--{name}",
        type=kind,
        metavar=_METAVARS.get(kind),
        default=default,
        show_default=shown or default is not None,
        envvar="BATCHQ_" + name.upper().replace("-", "_"),
        show_envvar=True,
        help=text,
    )


@click.command()
@_flag("host", str, "127.0.0.1", "Address or name to listen on.")
@_flag("port", click.IntRange(0, 65535), 8080, "TCP port to listen on; 0 takes a free one.")
@_flag(
    "store",
    str,
    None,
    "Where queues are kept: sqlite:PATH, memory: (gone with the process), or shared by many "
    "servers: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://.",
    shown="sqlite: a file in your data directory",
)
@_flag(
    "fsync",
    click.Choice(["always", "interval"]),
    "always",
    "When sqlite: is on the disk: before a push is answered, or every --fsync-interval.",
)
@_flag(
    "fsync-interval",
    FSYNC_INTERVAL,
    "1",
    "Seconds between syncs for --fsync interval; a day at most.",
)
@_flag(
    "min-free",
    MIN_FREE,
    "64MiB",
    "Bytes of the disk that pushes to sqlite: leave free for the rest; 0 for none.",
)
@_flag(
    "store-memory",
    STORE_MEMORY,
    "128MiB",
    "Payload bytes that sqlite: keeps in memory for pulls; 16MiB at least.",
)
@_flag("long-polling-timeout", _seconds, "5", "Seconds that a pull waits when it does not say.")
@_flag("max-wait", _seconds, "60", "Longest wait of a pull or push, in seconds.")
@_flag("max-body", _size, "64MiB", "Largest body of a request or answer, in bytes.")
@_flag("max-queue-bytes", _size, "1GiB", "Payload bytes that one queue may hold.")
@_flag("max-queues", click.IntRange(1), 10_000, "Queues that may exist at once.")
@_flag("max-producers", click.IntRange(1), 1_000, "Producers that one queue may know.")
@_flag(
    "keep-closed", _seconds, "3600", "Seconds that the record of a drained closed queue is kept."
)
@_flag("max-connections", click.IntRange(1), 4_096, "Connections that may be open at once.")
@_flag(
    "max-inflight-bytes",
    _size,
    "512MiB",
    "Bytes of bodies still coming in; at least four times --max-body.",
)
@_flag("certfile", click.Path(dir_okay=False), None, "TLS certificate chain, a PEM file.")
@_flag("keyfile", click.Path(dir_okay=False), None, "Key of the certificate, a PEM file.")
@_flag(
    "log-level",
    click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    "info",
    "What is logged on stderr.",
)
def server(**flags: Any) -> None:
    """Serve queues over HTTP/1.1 and HTTP/2, both on one port.

    Sizes are bytes, or such as 64MiB, 1GiB (K, M, G mean the same); times are seconds. It
    ends at SIGTERM or Ctrl-C, after having answered what waits; a second one ends it at once.

    Exit codes: 0 after a clean end, 1 when it can't start, 2 for wrong usage.
    """
    logging.basicConfig(
        level=flags["log_level"].upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Hypercorn's own news (where it runs) is told better by the announcement.
    if flags["log_level"].lower() != "debug":
        logging.getLogger("batchq.hypercorn").setLevel(logging.WARNING)
    limits = Limits(
        queue_bytes=flags["max_queue_bytes"],
        queues=flags["max_queues"],
        producers=flags["max_producers"],
        keep_closed=flags["keep_closed"],
    )
    url = flags["store"] or _default_store()
    store = _open_store(url, limits, flags)

    def announce(address: str) -> None:
        click.echo(f"batchq listening on {address}")
        click.echo(f"store: {without_password(url)} ({store.promise.text})")

    settings = ServerSettings(
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
    try:
        run(store, settings, announce)
    except StartError as error:
        raise click.ClickException(str(error)) from None
