"""``batchq haproxy moves``, ``move`` and ``slot``: what moves, and moving it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from batchq.cli.flags import seconds
from batchq.cli.haproxy_files import read_config
from batchq.cli.moving import LEASE, LEASE_WAIT, MoveError, move
from batchq.haproxy import (
    Found,
    Held,
    Layout,
    LayoutError,
    moved_queues,
    moves,
    script,
    slot_of,
)
from batchq.model import QUEUE_NAME
from batchq_client import Client
from batchq_client.copy import CopyError
from batchq_client.errors import ClientError

_CONFIG: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_DAY: Final = 86_400.0

_MOVE: Final = """Move QUEUE from the shard at the URL SOURCE to the one at TARGET.

Nobody else may use it meanwhile: HAProxy holds it. It stays at the source as it is, open or
closed, until the target has every line; then it is deleted there. Where that fails, run it
again: it begins anew. The shards' own URLs are needed, not HAProxy's.

\b
Exit codes:
  0    moved, or not there
  1    not moved, and the message says why; the source has all lines
  2    wrong usage
"""


def queue_name(text: str) -> str:
    """A kind of flag or argument: a queue's name."""
    if QUEUE_NAME.fullmatch(text) is None:
        raise click.BadParameter(f"{text!r} is not a queue's name")
    return text


def told(old: Layout, new: Layout) -> list[str]:
    """What moves, a line each."""
    lines = [str(one) for one in moves(old, new)]
    lines += [
        f"queue {queue}: {old.shard_of(queue)} -> {new.shard_of(queue)}"
        for queue in sorted(moved_queues(old, new))
    ]
    lines += [f"queue {queue} stays on {shard}" for queue, shard in sorted(new.stays.items())]
    return lines or ["nothing moves"]


@click.command("moves")
@click.argument("old", type=_CONFIG)
@click.argument("new", type=_CONFIG)
@click.option(
    "--copies",
    is_flag=True,
    help="Ask the shards which queues there are, and print the shell script that moves them.",
)
def moves_command(old: Path, new: Path, *, copies: bool) -> None:
    """Print which slots have other shards in the configuration NEW than in OLD.

    The shards are asked without HAProxy, at their addresses in the two files.
    """
    try:
        before, after = read_config(old), read_config(new)
        lines = told(before.layout, after.layout)
        if copies:
            text = script(asyncio.run(_queues(before, after)))
    except (LayoutError, ClientError) as error:
        raise click.ClickException(str(error)) from None
    if copies:
        click.echo(text, nl=False)
    else:
        for line in lines:
            click.echo(line)


@click.command("move", help=_MOVE)
@click.argument("queue", type=queue_name)
@click.argument("source")
@click.argument("target")
@click.option(
    "--lease",
    type=seconds(_DAY),
    metavar="SECONDS",
    default=LEASE,
    show_default=True,
    help="Seconds after which lines are ready again at the source when a move was killed.",
)
@click.option(
    "--lease-wait",
    type=seconds(_DAY),
    metavar="SECONDS",
    default=LEASE_WAIT,
    show_default=True,
    help="Seconds to wait for lines that are out on leases; then it fails.",
)
def move_command(queue: str, source: str, target: str, lease: float, lease_wait: float) -> None:
    """Moves one queue."""
    try:
        moved = asyncio.run(_moved(queue, (source, target), lease, lease_wait))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (MoveError, CopyError, ClientError) as error:
        raise click.ClickException(f"{queue}: not moved: {error}") from None
    click.echo(f"{queue}: moved" if moved else f"{queue}: is not there, or was moved before")


@click.command("slot")
@click.argument("config", type=_CONFIG)
@click.argument("queues", nargs=-1, required=True, type=queue_name, metavar="QUEUE...")
def slot_command(config: Path, queues: Sequence[str]) -> None:
    """Print each QUEUE's slot and shard in the configuration CONFIG."""
    try:
        layout = read_config(config).layout
    except LayoutError as error:
        raise click.ClickException(str(error)) from None
    for queue in queues:
        slot = slot_of(queue, len(layout.owners))
        click.echo(f"{queue}: slot {slot}, shard {layout.shard_of(queue)}")


async def _moved(queue: str, sides: tuple[str, str], lease: float, lease_wait: float) -> bool:
    """Moves a queue; on SIGTERM it ends as on Ctrl-C, and gives its leases back."""
    source, target = sides
    if source.rstrip("/") == target.rstrip("/"):
        raise ValueError("source and target are the same shard")
    moving = asyncio.current_task()
    if moving is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, moving.cancel)
    async with Client(source) as one, Client(target) as other:
        try:
            return await move(queue, one, other, lease=lease, lease_wait=lease_wait)
        except asyncio.CancelledError:
            raise MoveError("interrupted") from None


async def _queues(old: Found, new: Found) -> list[Held]:
    """Asks the shards that lose slots for their queues."""
    found = []
    sources = {one.source for one in moves(old.layout, new.layout)}
    sources |= {old.layout.shard_of(queue) for queue in moved_queues(old.layout, new.layout)}
    for name in sorted(sources):
        source = old.shards[name]
        async with Client(source.url) as client:
            for one in await client.queues():
                home, target = old.layout.shard_of(one.queue), new.layout.shard_of(one.queue)
                if home == name != target:
                    url = new.shards[target].url
                    lines = one.ready_lines + one.leased_lines
                    found.append(Held(one.queue, source.url, url, lines, one.leased_lines))
    return found
