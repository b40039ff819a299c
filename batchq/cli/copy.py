"""``batchq copy``, and its thin relatives ``batchq write`` and ``batchq read``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from platformdirs import user_state_path

from batchq.cli.copying import Output, refuse, run
from batchq.cli.flags import flag, number, seconds, size
from batchq_client.copy import EXIT_CODES, CopyOptions, UsageError, parse_address, queue_at

_F = TypeVar("_F", bound=Callable[..., Any])

_DEFAULTS: Final = CopyOptions()
_DAY: Final = 86_400.0

_EXITS: Final = "\b\nExit codes:\n" + "\n".join(
    f"  {code:<4} {text}" for code, text in EXIT_CODES.items()
)

_COPY: Final = """Copy SOURCE to DESTINATION, line by line and byte for byte.

Each side is a path, - for the standard input or output, or a queue's URL such as
http://host:8080/myqueue.

\b
file  to queue   cuts at line ends, pushes, closes the queue with totals and digest
queue to file    pulls until the writer's end, compares the digest, names the file
queue to queue   relays
file  to file    runs a server of its own and copies through it

While it is written, a file is called DESTINATION.part. A copy between a file and a queue that
was killed goes on with --resume. Lines that are passed on to a pipe or to another queue may come
there twice when the copy was killed in between: nobody else knows what had arrived.
"""

_OUTPUT: Final = (
    flag("quiet", is_flag=True, help="No progress and no closing line on stderr."),
    flag(
        "json",
        is_flag=True,
        help="Print a summary as JSON on stdout (on stderr when stdout is the destination).",
    ),
)

_MOVING: Final = (
    flag(
        "batch-bytes",
        type=size(1, 2**30),
        metavar="SIZE",
        default="1MiB",
        help="Bytes of a batch, such as 65536, 64KiB or 4MiB.",
    ),
    flag(
        "in-flight",
        type=number(1, 64),
        default=_DEFAULTS.in_flight,
        help="Requests that are under way at once, a number.",
    ),
    flag(
        "linger",
        type=seconds(_DAY),
        metavar="SECONDS",
        default=_DEFAULTS.linger,
        help="Seconds that bytes of a slow input wait for more before they are sent.",
    ),
    flag(
        "retry-for",
        type=seconds(_DAY),
        metavar="SECONDS",
        default=_DEFAULTS.retry_for,
        help="Seconds for which a fault is retried.",
    ),
)

_WRITING: Final = (
    flag(
        "keep-open",
        is_flag=True,
        help="Do not close the queue; a missing last newline is added.",
    ),
)

_READING: Final = (
    flag(
        "wait",
        type=seconds(_DAY),
        metavar="SECONDS",
        default=_DEFAULTS.wait,
        help="Seconds that one pull waits for lines.",
    ),
    flag(
        "retries",
        type=number(1, 2**31),
        default=_DEFAULTS.retries,
        help="Pulls in a row that got nothing in their full wait, until a reader stops; a number.",
    ),
    flag(
        "lease",
        type=seconds(_DAY, 0.1),
        metavar="SECONDS",
        default=_DEFAULTS.lease,
        help="Seconds after which lines of a reader that vanished go to another one; servers "
        "give 43200 (12 h) at most.",
    ),
    flag(
        "shared",
        is_flag=True,
        help="Other readers take lines of this queue too: a part of them is success.",
    ),
)

_RESUMING: Final = (
    flag(
        "resume",
        is_flag=True,
        help="Go on where an earlier copy between the same file and queue was ended.",
    ),
)

_IDLE: Final = (
    flag(
        "until-idle",
        is_flag=True,
        help="Stopping because nothing came is success, also when the queue is not closed.",
    ),
)


def _flags(*groups: tuple[Callable[[_F], _F], ...]) -> Callable[[_F], _F]:
    def decorate(command: _F) -> _F:
        for one in reversed([one for group in groups for one in group]):
            command = one(command)
        return command

    return decorate


@click.command(epilog=_EXITS, help=_COPY)
@click.argument("source")
@click.argument("destination")
@_flags(_MOVING, _WRITING, _READING, _IDLE, _RESUMING, _OUTPUT)
@click.pass_context
def copy(context: click.Context, /, source: str, destination: str, **flags: Any) -> None:
    """Copies one side to the other."""
    try:
        sides = parse_address(source), parse_address(destination)
    except UsageError as error:
        refuse(context, error)
    context.exit(run(*sides, _options(flags), _output(flags)))


@click.command(epilog=_EXITS)
@click.argument("url")
@click.argument("queue")
@click.argument("file")
@_flags(_MOVING, _WRITING, _RESUMING, _OUTPUT)
@click.pass_context
def write(context: click.Context, /, url: str, queue: str, file: str, **flags: Any) -> None:
    """Write FILE (or - for the standard input) into QUEUE of the server at URL, and close it."""
    try:
        sides = parse_address(file), queue_at(url, queue)
    except UsageError as error:
        refuse(context, error)
    context.exit(run(*sides, _options(flags), _output(flags)))


@click.command(epilog=_EXITS)
@click.argument("url")
@click.argument("queue")
@click.argument("file")
@_flags(_MOVING, _READING, _RESUMING, _OUTPUT)
@click.pass_context
def read(context: click.Context, /, url: str, queue: str, file: str, **flags: Any) -> None:
    """Read QUEUE of the server at URL into FILE (or - for the standard output).

    It ends at the queue's end, or when nothing more comes, which is success as well.
    """
    try:
        sides = queue_at(url, queue), parse_address(file)
    except UsageError as error:
        refuse(context, error)
    context.exit(run(*sides, _options({**flags, "until_idle": True}), _output(flags)))


def _options(flags: dict[str, Any]) -> CopyOptions:
    known = CopyOptions.__dataclass_fields__
    given = {name: value for name, value in flags.items() if name in known}
    return CopyOptions(**given, state_dir=user_state_path("batchq") / "copies")


def _output(flags: dict[str, Any]) -> Output:
    return Output(quiet=flags["quiet"], as_json=flags["json"])
