"""``batchq store``: looking after a SQLite store's file; and how a shared store is opened."""

from __future__ import annotations

import re
from typing import Final

import click

from batchq.errors import StoreUnavailable
from batchq.model import Limits
from batchq.stores.base import Store
from batchq.stores.sqlite import copies, maintenance
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
            click.echo(finding)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    if findings:
        raise click.ClickException(f"{path} is damaged: {restoring(path)}")
    click.echo(f"{path} is sound")


@store.command()
@click.argument("path", type=click.Path(dir_okay=False))
def compact(path: str) -> None:
    """Give all free space of the file at PATH back; no server may use it meanwhile."""
    try:
        before, after = maintenance.compact(path)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"{path}: {before} bytes before, {after} bytes now")


@store.command()
@click.argument("path", type=click.Path(dir_okay=False))
@click.argument("to", type=click.Path(dir_okay=False))
def backup(path: str, to: str) -> None:
    """Copy the file at PATH as it is now to TO, also while a server uses it."""
    try:
        size = copies.backup(path, to)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"{to}: {size} bytes")


@store.command()
@click.argument("backup", type=click.Path(dir_okay=False))
@click.argument("path", type=click.Path(dir_okay=False))
def restore(backup: str, path: str) -> None:
    """Put the file BACKUP in the place of the store at PATH; no server may use it meanwhile.

    It is looked at first; what was at PATH is gone then. A backup is never copied over a store
    by hand: SQLite would apply to it what is left of the old one.
    """
    try:
        size = copies.restore(backup, path)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"{path}: {size} bytes, from {backup}")
