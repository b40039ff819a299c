"""``batchq store``: looking after a SQLite store's file."""

from __future__ import annotations

import click

from batchq.errors import StoreUnavailable
from batchq.stores.sqlite import maintenance


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
        raise click.ClickException(f"{path} is damaged: restore a backup")
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
        size = maintenance.backup(path, to)
    except StoreUnavailable as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"{to}: {size} bytes")
