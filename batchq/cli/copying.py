"""Runs one copy for a command: progress, signals, the summary, the exit code."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

import click
import uvloop

from batchq.cli.local import local_server
from batchq.cli.progress import shown
from batchq_client.copy import (
    Address,
    CopyError,
    CopyOptions,
    Progress,
    QueueAddress,
    StandardStream,
    Summary,
    UsageError,
    check_sides,
    copy_through,
    read_queue,
    relay,
    write_queue,
)
from batchq_client.copy.outcome import BROKEN_PIPE, FAILED, INTERRUPTED, TERMINATED
from batchq_client.errors import ClientError

_SIGNALS: Final = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


@dataclass(frozen=True, slots=True)
class Output:
    """What a copy prints.

    Attributes:
        quiet: no progress and no closing line; errors and warnings all the same.
        as_json: the summary as one line of JSON.
    """

    quiet: bool
    as_json: bool


class _Telling(logging.Handler):
    """Passes on to the user what a copy says while it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line to stderr, above the progress where that is shown."""
        click.echo(f"batchq: {record.getMessage()}", err=True)


def run(source: Address, destination: Address, options: CopyOptions, output: Output) -> int:
    """Copies; gives the exit code. What is to be said has been said then."""
    summary = Summary(str(source), str(destination))
    start = time.monotonic()
    telling = _Telling(logging.WARNING)
    logging.getLogger("batchq_client.copy").addHandler(telling)
    try:
        check_sides(source, destination, options)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_interruptible(source, destination, options, output, summary))
    except UsageError as error:
        _failed(summary, str(error), error.exit_code)
    except CopyError as error:
        _failed(summary, _text(error), error.exit_code)
    except ClientError as error:
        _failed(summary, _text(error), FAILED)
    finally:
        logging.getLogger("batchq_client.copy").removeHandler(telling)
    summary.seconds = round(time.monotonic() - start, 3)
    _report(summary, output, to_stdout=isinstance(destination, StandardStream))
    return summary.exit_code


def refuse(context: click.Context, error: UsageError) -> NoReturn:
    """Ends a command whose addresses can't be used, in one line."""
    click.echo(f"batchq: {error}", err=True)
    context.exit(error.exit_code)


async def _interruptible(
    source: Address,
    destination: Address,
    options: CopyOptions,
    output: Output,
    summary: Summary,
) -> None:
    """Runs the copy until it ends or a signal ends it.

    Raises:
        CopyError: it failed, or a signal came; with the signal's exit code.
    """
    loop = asyncio.get_running_loop()
    progress = Progress()
    copying = asyncio.ensure_future(_copy(source, destination, options, progress, summary))
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        if received:
            os._exit(_SIGNALS[number])  # the second one: at once
        received.append(number)
        copying.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        async with shown(progress, f"{source} → {destination}", quiet=output.quiet):
            await copying
    except asyncio.CancelledError as error:
        if not received:
            raise
        text = "interrupted" if received[0] is signal.SIGINT else "terminated"
        ended = CopyError(text, _SIGNALS[received[0]])
        for note in getattr(error, "__notes__", ()):
            ended.add_note(note)
        raise ended from None
    finally:
        summary.warnings += progress.warnings


async def _copy(
    source: Address,
    destination: Address,
    options: CopyOptions,
    progress: Progress,
    summary: Summary,
) -> None:
    if isinstance(source, QueueAddress):
        if isinstance(destination, QueueAddress):
            await relay(source, destination, options, progress, summary)
        else:
            await read_queue(source, destination, options, progress, summary)
    elif isinstance(destination, QueueAddress):
        await write_queue(source, destination, options, progress, summary)
    else:
        async with local_server() as url:
            await copy_through(url, source, destination, options, progress, summary)


def _failed(summary: Summary, text: str, exit_code: int) -> None:
    summary.error = text
    summary.exit_code = exit_code


def _text(error: BaseException) -> str:
    """An error and its notes in one line."""
    return "; ".join([str(error), *getattr(error, "__notes__", ())])


def _report(summary: Summary, output: Output, *, to_stdout: bool) -> None:
    for warning in summary.warnings:
        click.echo(f"batchq: warning: {warning}", err=True)
    if output.as_json:
        text = json.dumps(summary.as_json(), ensure_ascii=False)
        with suppress(BrokenPipeError):
            click.echo(text, err=to_stdout)
    if summary.error is not None:
        if summary.exit_code != BROKEN_PIPE:
            click.echo(f"batchq: {summary.error}", err=True)
    elif not output.quiet and not output.as_json and sys.stderr.isatty():
        rate = summary.lines / summary.seconds if summary.seconds else 0.0
        click.echo(
            f"{summary.lines:,} lines, {summary.bytes:,} bytes in {summary.seconds:.2f} s "
            f"({rate:,.0f} lines/s)",
            err=True,
        )
