"""``batchq bench``: what push, pull and round trips reach on a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import click
import uvloop

from batchq.cli.flags import flag, number, seconds, size
from batchq.cli.signals import Ended, text_of, until_signal
from batchq.cli.streams import need, say, tell
from batchq_client.bench import LINE_BYTES, BenchError, BenchOptions, BenchReport, Figure, measure
from batchq_client.errors import ClientError

_DEFAULTS: Final = BenchOptions()
_HOUR: Final = 3600.0

_EXITS: Final = """\b
Exit codes:
  0    measured
  1    the server can't be reached, refused, or lost a line; or the figures can't be printed
  2    wrong usage
  129  its terminal was closed (SIGHUP)
  130  interrupted (Ctrl-C)
  141  whoever read the standard output has left
  143  terminated (SIGTERM)"""


@click.command(epilog=_EXITS)
@click.argument("url")
@flag(
    "batch-bytes",
    type=size(1, 2**28),
    metavar="SIZE",
    default="1MiB",
    help="Bytes of a batch, such as 65536, 64KiB or 4MiB; whole lines, at least one.",
)
@flag(
    "in-flight",
    type=number(1, 64),
    default=_DEFAULTS.in_flight,
    help="Requests that are under way at once, a number.",
)
@flag(
    "seconds",
    type=seconds(_HOUR),
    metavar="SECONDS",
    default=_DEFAULTS.seconds,
    help="Seconds for all of it.",
)
@flag("json", is_flag=True, help="Print the figures as JSON on stdout.")
@click.pass_context
def bench(context: click.Context, /, url: str, **flags: Any) -> None:
    """Measure the server at URL: pushes, pulls, and round trips of one line.

    It uses a queue of its own with a random name, which is deleted at the end, and at most about
    64 MiB of the server's room at once. A round trip is a push of one line and then a pull of
    it, one after the other; its latency is that of both.
    """
    options = BenchOptions(flags["batch_bytes"], flags["in_flight"], flags["seconds"])
    need(1)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(until_signal(measure(url, options)))
    except ValueError as error:
        _fail(context, error, 2)
    except (ClientError, BenchError) as error:
        _fail(context, error, 1)
    except Ended as error:
        _fail(context, error, error.exit_code)
    else:
        say(json.dumps(report.as_json()) if flags["json"] else _table(report))


def _fail(context: click.Context, error: BaseException, code: int) -> None:
    tell(text_of(error))
    context.exit(code)


def _table(report: BenchReport) -> str:
    options = report.options
    head = (
        f"{report.url} (level {report.level}): batches of {options.batch_bytes:,} bytes, "
        f"{options.in_flight} in flight, lines of {LINE_BYTES} bytes, {report.seconds:.1f} s"
    )
    columns = ("", "lines/s", "MB/s", "requests/s", "median ms", "p99 ms")
    rows = [columns, *(_row(figure) for figure in report.figures)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join([head, *lines])


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        f"{figure.rate(figure.lines):,.0f}",
        f"{figure.rate(figure.bytes) / 1e6:,.2f}",
        f"{figure.rate(figure.requests):,.0f}",
        f"{figure.median * 1e3:.2f}",
        f"{figure.p99 * 1e3:.2f}",
    )
