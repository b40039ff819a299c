"""``batchq haproxy``: writes HAProxy's configuration for shards, and tells what moves."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from batchq.cli.flags import seconds
from batchq.haproxy import (
    SLOTS,
    Found,
    Front,
    Held,
    Hold,
    Layout,
    LayoutError,
    Shard,
    first,
    moved_queues,
    moves,
    read,
    rebalanced,
    render,
    script,
    slot_of,
)
from batchq.model import QUEUE_NAME
from batchq_client import Client
from batchq_client.errors import ClientError

_F = TypeVar("_F", bound=Callable[..., Any])

_DAY: Final = 86_400.0
_SHARD: Final = re.compile(r"([^=]+)=(?:\[([^\]]+)\]|([^\[\]:]+)):([0-9]{1,5})")
_DEFAULTS: Final = Front.__dataclass_fields__

_HELP: Final = """Write HAProxy's configuration for queues on many servers (shards).

Each queue lives on one shard: its name is hashed over a fixed number of slots, and the
configuration maps each slot to one shard. A shard that is down is 503 for its queues, which are
nowhere else.

\b
batchq haproxy --shard a=10.0.0.1:8080 --shard b=10.0.0.2:8080 --output haproxy.cfg

When shards come or go, --was names the configuration in force, from which as few slots as can be
are moved; they are printed on stderr. Move their queues before that is used: see the
documentation on shards.

\b
Exit codes:
  0    written
  1    it can't be made, and the message says why
  2    wrong usage
"""


def _flag(name: str, **settings: Any) -> Callable[[_F], _F]:
    """A flag. None has a variable in the environment: what is written should not depend on it."""
    return click.option(f"--{name}", show_default=settings.get("default") != "", **settings)


def _shard(text: str) -> Shard:
    match = _SHARD.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not NAME=host:port", param_hint="--shard")
    try:
        return Shard(match[1], match[2] or match[3], int(match[4]))
    except LayoutError as error:
        raise click.BadParameter(str(error), param_hint="--shard") from None


def _queue(text: str) -> str:
    if QUEUE_NAME.fullmatch(text) is None:
        raise click.BadParameter(f"{text!r} is not a queue's name")
    return text


@click.group(invoke_without_command=True, help=_HELP)
@click.option(
    "--shard",
    "shards",
    multiple=True,
    type=_shard,
    metavar="NAME=HOST:PORT",
    help="A shard: its name, which it keeps for good, and where it is now. Give one for each.",
)
@_flag(
    "was",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The configuration in force, whose slots are kept as far as can be.",
)
@_flag("hold", is_flag=True, help="Answer calls on what moves with 503, so that it can be moved.")
@click.option(
    "--stay",
    "stays",
    multiple=True,
    type=_queue,
    metavar="QUEUE",
    help="A queue that stays on its shard when its slot moves, as it is busy. May be repeated.",
)
@click.option(
    "--settle",
    "settles",
    multiple=True,
    type=_queue,
    metavar="QUEUE",
    help="A queue that stayed and now goes where its slot is. May be repeated.",
)
@_flag(
    "slots",
    type=click.IntRange(1, 65_536),
    help=f"Slots of a new layout; the number never changes afterwards.  [default: {SLOTS}]",
)
@_flag(
    "bind",
    metavar="ADDRESS",
    default=_DEFAULTS["bind"].default,
    help="Where to listen without TLS, as HAProxy's bind has it; empty: nowhere.",
)
@_flag(
    "bind-tls",
    metavar="ADDRESS",
    default="",
    help="Where to listen with TLS, such as :8443.",
)
@_flag(
    "certfile",
    type=click.Path(dir_okay=False),
    default="",
    help="For TLS: a PEM file that holds the certificate chain and its key.",
)
@_flag(
    "max-wait",
    type=seconds(_DAY),
    metavar="SECONDS",
    default=_DEFAULTS["max_wait"].default,
    help="The shards' own --max-wait: no poll is cut before it is over.",
)
@_flag(
    "margin",
    type=seconds(_DAY),
    metavar="SECONDS",
    default=_DEFAULTS["margin"].default,
    help="Seconds beyond --max-wait after which an answer is not waited for any more.",
)
@_flag(
    "check",
    type=seconds(_DAY),
    metavar="SECONDS",
    default=_DEFAULTS["check"].default,
    help="Seconds between two health checks of a shard; three that fail make it down.",
)
@_flag(
    "max-connections",
    type=click.IntRange(1),
    default=_DEFAULTS["max_connections"].default,
    help="Clients that may be connected at once.",
)
@_flag("threads", type=click.IntRange(1), help="Threads of HAProxy.  [default: one for each core]")
@_flag(
    "log",
    metavar="TARGET",
    default=_DEFAULTS["log"].default,
    help="Where HAProxy logs to, as its log has it; empty: nowhere.",
)
@_flag("log-all", is_flag=True, help="Log every request, not only those that went wrong.")
@_flag("stats-socket", metavar="PATH", default="", help="A socket for HAProxy's own commands.")
@_flag(
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: the standard output]",
)
@click.pass_context
def haproxy(context: click.Context, /, **flags: Any) -> None:
    """Writes a configuration, unless a subcommand is asked for."""
    if context.invoked_subcommand is not None:
        return
    shards: list[Shard] = list(flags["shards"])
    if not shards:
        raise click.UsageError("name the shards: --shard NAME=HOST:PORT, once for each")
    try:
        was = None if flags["was"] is None else _read(flags["was"])
        layout, hold = _layout(was, flags)
        _check_output(flags["output"], flags["was"], layout)
        front = {name: flags[name] for name in _DEFAULTS if name in flags} | {"hold": hold}
        text = render(Front(**{**front, "shards": shards, "layout": layout}))
    except LayoutError as error:
        raise click.ClickException(str(error)) from None
    if was is not None:
        for line in _moves(was.layout, layout):
            click.echo(line, err=True)
    if flags["output"] is None:
        click.echo(text, nl=False)
    else:
        _write(flags["output"], text)


@haproxy.command("moves")
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(exists=True, dir_okay=False, path_type=Path))
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
        before, after = _read(old), _read(new)
        lines = _moves(before.layout, after.layout)
        if copies:
            text = script(asyncio.run(_queues(before, after)))
    except (LayoutError, ClientError) as error:
        raise click.ClickException(str(error)) from None
    if copies:
        click.echo(text, nl=False)
    else:
        for line in lines:
            click.echo(line)


@haproxy.command("slot")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("queues", nargs=-1, required=True, type=_queue, metavar="QUEUE...")
def slot_command(config: Path, queues: Sequence[str]) -> None:
    """Print each QUEUE's slot and shard in the configuration CONFIG."""
    try:
        layout = _read(config).layout
    except LayoutError as error:
        raise click.ClickException(str(error)) from None
    for queue in queues:
        slot = slot_of(queue, len(layout.owners))
        click.echo(f"{queue}: slot {slot}, shard {layout.shard_of(queue)}")


def _layout(was: Found | None, flags: dict[str, Any]) -> tuple[Layout, Hold]:
    """The new layout, and what is held on the way there."""
    names = [shard.name for shard in flags["shards"]]
    if was is None:
        for name in ("hold", "stays", "settles"):
            if flags[name]:
                raise click.UsageError(f"--{name.rstrip('s')} needs --was, the one in force")
        return first(names, flags["slots"] or SLOTS), Hold()
    slots = len(was.layout.owners)
    if flags["slots"] not in (None, slots):
        raise LayoutError(f"{flags['was']} has {slots} slots: the number never changes")
    if was.holds:
        raise LayoutError(
            f"{flags['was']} holds queues on their way: name the one from before that"
        )
    stays = ({*was.layout.stays} | {*flags["stays"]}) - {*flags["settles"]}
    layout = rebalanced(was.layout, names, stays)
    if not flags["hold"]:
        return layout, Hold()
    moved = {
        slot for move in moves(was.layout, layout) for slot in range(move.first, move.last + 1)
    }
    return layout, Hold(moved, moved_queues(was.layout, layout))


def _check_output(output: Path | None, was: Path | None, layout: Layout) -> None:
    """Refuses to overwrite the record of another layout that nobody named."""
    if output is None or was is not None or not output.exists():
        return
    try:
        there = read(output.read_text()).layout
    except (LayoutError, UnicodeDecodeError):
        raise LayoutError(f"{output} is there, and is another kind of file") from None
    if there != layout:
        raise LayoutError(
            f"{output} maps the slots otherwise, and queues may live there: say --was {output}, "
            "or remove it where there are no queues yet"
        )


def _read(path: Path) -> Found:
    """Reads a configuration.

    Raises:
        LayoutError: it is none; the text names the file.
    """
    try:
        return read(path.read_text())
    except (LayoutError, UnicodeDecodeError, OSError) as error:
        raise LayoutError(f"{path}: {error}") from None


def _moves(old: Layout, new: Layout) -> list[str]:
    lines = [str(move) for move in moves(old, new)]
    lines += [
        f"queue {queue}: {old.shard_of(queue)} -> {new.shard_of(queue)}"
        for queue in sorted(moved_queues(old, new))
    ]
    lines += [f"queue {queue} stays on {shard}" for queue, shard in sorted(new.stays.items())]
    return lines or ["nothing moves"]


async def _queues(old: Found, new: Found) -> list[Held]:
    """Asks the shards that lose slots for their queues."""
    found = []
    sources = {move.source for move in moves(old.layout, new.layout)}
    sources |= {old.layout.shard_of(queue) for queue in moved_queues(old.layout, new.layout)}
    for name in sorted(sources):
        source = old.shards[name]
        async with Client(source.url) as client:
            for one in await client.queues():
                home, target = old.layout.shard_of(one.queue), new.layout.shard_of(one.queue)
                if home == name != target:
                    leased = one.leased_lines
                    found.append(
                        Held(
                            one.queue,
                            source.url,
                            new.shards[target].url,
                            one.closed,
                            one.ready_lines + leased,
                            leased,
                        )
                    )
    return found


def _write(path: Path, text: str) -> None:
    """Writes a file whole or not at all: it is the only record of the layout.

    Raises:
        ClickException: it can't be written.
    """
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            written = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                written.chmod(0o644)
                written.replace(path)
            except BaseException:
                written.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise click.ClickException(f"can't write {path}: {error.strerror}") from None
