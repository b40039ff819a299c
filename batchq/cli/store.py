"""``batchq store``: looking after a SQLite store's file; and how stores are opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from batchq.cli.flags import seconds, size
from batchq.cli.streams import say
from batchq.errors import StoreUnavailable
from batchq.model import MIB, Limits
from batchq.stores.base import Store
from batchq.stores.sqlite import Options, SqliteStore, copies, maintenance
from batchq.stores.sqlite.errors import restoring

REDIS_SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
"""What ``--store`` begins with for queues that many servers share."""


FSYNC_INTERVAL: Final = seconds(86_400.0)
MIN_FREE: Final = size(0, 1 << 60)
STORE_MEMORY: Final = size(16 * MIB, 1 << 60)
"""Kinds of the flags of ``sqlite:``."""


def open_sqlite(path: str, limits: Limits, flags: Mapping[str, Any]) -> Store:
    """Makes a store of queues in a file.

    Args:
        path: the file; ``~`` is the user's home.
        limits: how much may be held.
        flags: the server's.

    Raises:
        click.BadParameter: that is no path.
    """
    if not path or path == ":memory:":
        raise click.BadParameter(
            "sqlite: needs the path of a file, such as sqlite:/var/lib/batchq/queues.sqlite; "
            "queues that are gone with the process are in memory:",
            param_hint="--store",
        )
    try:
        file = Path(path).expanduser()
    except RuntimeError as error:
        raise click.BadParameter(f"{path!r}: {error}", param_hint="--store") from None
    if file.is_dir():
        raise click.BadParameter(f"{path} is a directory: name a file in it", param_hint="--store")
    options = Options(
        fsync=flags["fsync"],
        sync_seconds=flags["fsync_interval"],
        min_free=flags["min_free"],
        memory=flags["store_memory"],
    )
    return SqliteStore(file, limits, options)


def open_redis(url: str, limits: Limits) -> Store:
    """Makes a store of queues in Redis.

    Raises:
        click.BadParameter: the URL can't be read, or the extra is not installed.
    """
    try:
        # Imported here: it needs an extra, and who keeps queues elsewhere does not.
        from batchq.stores.redis import BadUrl, RedisStore  # noqa: PLC0415
    except ImportError as error:
        raise click.BadParameter(
            f"queues in Redis need an extra: pip install 'batchq[redis]' ({error})",
            param_hint="--store",
        ) from None
    try:
        return RedisStore(url, limits)
    except BadUrl as error:
        raise click.BadParameter(str(error), param_hint="--store") from None


def without_password(url: str) -> str:
    """A store's URL as it may be shown: the password is left out."""
    return re.sub(r"(?<=//)([^/@]*?):[^/@]*@", r"\1:***@", url)


@click.group()
def store() -> None:
    """Look after the file of a SQLite store."""


@store.command()
@click.argument("path", type=click.Path(dir_okay=False))
def check(path: str) -> None:
    """Look at all of the file at PATH, also while a server uses it.

    Exit codes: 0 for a sound file, 1 for one that is not, or can't be opened.
    """
    findings = 0
    try:
        for finding in maintenance.check(path):
            findings += 1
            say(finding)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    if findings:
        raise click.ClickException(f"{path} is damaged: {restoring(path)}")
    say(f"{path} is sound")


@store.command()
@click.argument("path", type=click.Path(dir_okay=False))
def compact(path: str) -> None:
    """Give all free space of the file at PATH back; no server may use it meanwhile."""
    try:
        before, after = maintenance.compact(path)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    say(f"{path}: {before} bytes before, {after} bytes now")


@store.command()
@click.argument("path", type=click.Path(dir_okay=False))
@click.argument("to", type=click.Path(dir_okay=False))
def backup(path: str, to: str) -> None:
    """Copy the file at PATH as it is now to TO, also while a server uses it.

    The copy is one file, and all of it is looked at: of a damaged store none is made.
    """
    try:
        taken = copies.backup(path, to)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    say(f"{to}: {taken} bytes")


@store.command()
@click.argument("backup", type=click.Path(dir_okay=False))
@click.argument("path", type=click.Path(dir_okay=False))
def restore(backup: str, path: str) -> None:
    """Put the file BACKUP in the place of the store at PATH; no server may use it meanwhile.

    It is looked at first; what was at PATH is gone then. A backup is never copied over a store
    by hand: SQLite would apply to it what is left of the old one.
    """
    try:
        taken = copies.restore(backup, path)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    say(f"{path}: {taken} bytes, from {backup}")
