"""``batchq haproxy``: writes HAProxy's configuration for shards, and tells what moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from batchq.cli.flags import seconds
from batchq.cli.haproxy_files import check_output, read_config, write_config
from batchq.cli.haproxy_moves import (
    move_command,
    moves_command,
    queue_name,
    slot_command,
    told,
)
from batchq.haproxy import (
    SLOTS,
    Found,
    Front,
    Hold,
    Layout,
    LayoutError,
    Shard,
    first,
    moved_queues,
    moves,
    rebalanced,
    render,
)

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


def _output(text: str) -> Path:
    if not text:
        raise click.BadParameter("an empty name is no file")
    return Path(text)


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
    type=queue_name,
    metavar="QUEUE",
    help="A queue that stays on its shard when its slot moves, as it is busy. May be repeated.",
)
@click.option(
    "--settle",
    "settles",
    multiple=True,
    type=queue_name,
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
    help="Seconds between two health checks of a shard, each of 2 s at most; three that fail make "
    "it down.",
)
@_flag(
    "max-connections",
    type=click.IntRange(1),
    default=_DEFAULTS["max_connections"].default,
    help="Clients that may be connected at once; and requests at once that have neither a number "
    "nor a lease, pulls apart. More are told 429.",
)
@_flag(
    "max-pulls",
    type=click.IntRange(1),
    default=_DEFAULTS["max_pulls"].default,
    help="Pulls without a lease that may wait at once. More are told 429. Each costs two "
    "connections; pulls on leases share their client's.",
)
@_flag(
    "shard-connections",
    type=click.IntRange(1),
    default=_DEFAULTS["shard_connections"].default,
    help="Connections that each shard takes from this HAProxy: the shards' own --max-connections, "
    "or a share of it where several HAProxies run.",
)
@_flag(
    "resolve",
    is_flag=True,
    help="Ask the name servers of resolv.conf for the shards' hosts, again and again. Otherwise "
    "they are resolved once, when HAProxy starts, /etc/hosts included.",
)
@_flag(
    "threads",
    type=click.IntRange(1, 64),
    help="Threads of HAProxy.  [default: one for each core]",
)
@_flag(
    "log",
    metavar="TARGET",
    default=_DEFAULTS["log"].default,
    help="Where HAProxy logs to, as its log has it; empty: nowhere.",
)
@_flag("log-all", is_flag=True, help="Log every request, not only those that went wrong.")
@_flag("stats-socket", metavar="PATH", default="", help="A socket for HAProxy's own commands.")
@_flag("output", type=_output, metavar="FILE", help="The file to write.  [default: stdout]")
@click.pass_context
def haproxy(context: click.Context, /, **flags: Any) -> None:
    """Writes a configuration, unless a subcommand is asked for."""
    if context.invoked_subcommand is not None:
        return
    shards: list[Shard] = list(flags["shards"])
    if not shards:
        raise click.UsageError("name the shards: --shard NAME=HOST:PORT, once for each")
    output: Path | None = flags["output"]
    try:
        was = None if flags["was"] is None else read_config(flags["was"])
        layout, hold = _layout(was, flags)
        if output is not None:
            check_output(output, layout, flags["was"], None if was is None else was.layout)
        front = {name: flags[name] for name in _DEFAULTS if name in flags} | {"hold": hold}
        text = render(Front(**{**front, "shards": shards, "layout": layout}))
    except LayoutError as error:
        raise click.ClickException(str(error)) from None
    if was is not None:
        for line in told(was.layout, layout):
            click.echo(line, err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_config(output, text)


for _command in (moves_command, move_command, slot_command):
    haproxy.add_command(_command)


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
