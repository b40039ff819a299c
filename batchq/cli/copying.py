"""Runs one copy for a command: progress, signals, the summary, the exit code."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import click
import uvloop

from batchq.cli.local import with_local_server
from batchq.cli.progress import shown
from batchq.cli.signals import Ended, text_of, until_signal
from batchq.cli.streams import StreamError, need, say, tell
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
from batchq_client.copy.outcome import FAILED, OK, BrokenPipe
from batchq_client.errors import ClientError


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
        tell(record.getMessage())


def run(source: Address, destination: Address, options: CopyOptions, output: Output) -> int:
    """Copies; gives the exit code. What is to be said has been said then."""
    summary = Summary(str(source), str(destination))
    start = time.monotonic()
    telling = _Telling(logging.WARNING)
    logging.getLogger("batchq_client.copy").addHandler(telling)
    try:
        _need_streams(source, destination, output)
        check_sides(source, destination, options)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signal(_shown(source, destination, options, output, summary)))
    except BrokenPipe as error:
        _failed(summary, "", error.exit_code)
    except (CopyError, Ended) as error:
        _failed(summary, text_of(error), error.exit_code)
    except ClientError as error:
        _failed(summary, text_of(error), FAILED)
    finally:
        logging.getLogger("batchq_client.copy").removeHandler(telling)
    summary.seconds = round(time.monotonic() - start, 3)
    _report(summary, output, to_stdout=isinstance(destination, StandardStream))
    return summary.exit_code


def _need_streams(source: Address, destination: Address, output: Output) -> None:
    """Refuses a copy for which a standard stream is missing.

    Raises:
        UsageError: one is.
    """
    to_stdout = isinstance(destination, StandardStream)
    fds = {0} if isinstance(source, StandardStream) else set()
    fds |= {1} if to_stdout else set()
    fds |= {2 if to_stdout else 1} if output.as_json else set()
    try:
        need(*sorted(fds))
    except StreamError as error:
        raise UsageError(str(error)) from None


def refuse(context: click.Context, error: UsageError) -> NoReturn:
    """Ends a command whose addresses can't be used, in one line."""
    tell(str(error))
    context.exit(error.exit_code)


async def _shown(
    source: Address,
    destination: Address,
    options: CopyOptions,
    output: Output,
    summary: Summary,
) -> None:
    """Runs the copy, and shows how it goes on."""
    progress = Progress()
    try:
        async with shown(progress, f"{source} → {destination}", quiet=output.quiet):
            await _copy(source, destination, options, progress, summary)
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
        await with_local_server(
            lambda url: copy_through(url, source, destination, options, progress, summary)
        )


def _failed(summary: Summary, text: str, exit_code: int) -> None:
    summary.error = text
    summary.exit_code = exit_code


def _report(summary: Summary, output: Output, *, to_stdout: bool) -> None:
    for warning in summary.warnings:
        tell(f"warning: {warning}")
    if output.as_json:
        _print(summary, to_stdout=to_stdout)
    if summary.error:
        tell(summary.error)
    elif summary.error is None and not (output.quiet or output.as_json) and sys.stderr.isatty():
        rate = summary.lines / summary.seconds if summary.seconds else 0.0
        with suppress(OSError):
            click.echo(
                f"{summary.lines:,} lines, {summary.bytes:,} bytes in {summary.seconds:.2f} s "
                f"({rate:,.0f} lines/s)",
                err=True,
            )


def _print(summary: Summary, *, to_stdout: bool) -> None:
    """Prints the summary. Where that fails, this is what the command ends with, at the least."""
    text = json.dumps(summary.as_json())
    try:
        if to_stdout:
            click.echo(text, err=True)
        else:
            say(text)
    except OSError as error:
        unprinted = f"can't write the standard error: {error.strerror or error}"
        exit_code = FAILED
    except StreamError as error:
        unprinted, exit_code = str(error), error.exit_code
    else:
        return
    if summary.exit_code == OK:
        text = f"the copy is complete, but not its summary: {unprinted}" if unprinted else ""
        _failed(summary, text, exit_code)
