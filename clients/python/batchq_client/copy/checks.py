"""What can be seen to be wrong with two addresses before anything is touched."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from batchq_client.copy.addresses import Address, PathAddress, QueueAddress
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import UsageError
from batchq_client.copy.part import part_of
from batchq_client.copy.sink import check_destination, is_special, real_path


def check_sides(source: Address, destination: Address, options: CopyOptions | None = None) -> None:
    """Refuses a copy that can't work.

    Args:
        source: where from.
        destination: where to.
        options: what was chosen, if anything was.

    Raises:
        UsageError: it can't; the text says why.
    """
    if isinstance(source, PathAddress):
        _check_source(source.path)
    if isinstance(destination, PathAddress):
        check_destination(destination)
    if isinstance(source, QueueAddress) and source == destination:
        raise UsageError("source and destination are the same queue")
    if isinstance(source, PathAddress) and isinstance(destination, PathAddress):
        _check_different(source.path, destination.path)
    if options is not None and not any(
        isinstance(side, QueueAddress) for side in (source, destination)
    ):
        _check_local(options)
    if options is not None and options.resume:
        _check_resumable(source, destination)
        if options.shared:
            raise UsageError(
                "--resume is not for --shared: a reader that goes on can't tell its own lines "
                "from those of others"
            )


def _check_local(options: CopyOptions) -> None:
    """Refuses what has no meaning for a copy whose queue is its own.

    Raises:
        UsageError: it was chosen; the text names it.
    """
    for flag, chosen in (
        ("--keep-open", options.keep_open),
        ("--until-idle", options.until_idle),
        ("--shared", options.shared),
    ):
        if chosen:
            raise UsageError(
                f"{flag} is for a queue that others use: that of a local copy is its own, is "
                "closed, and ends with it"
            )


def _check_resumable(source: Address, destination: Address) -> None:
    """Refuses to go on with what leaves nothing to go on from.

    Raises:
        UsageError: it does; the text says why.
    """
    from_queue, to_queue = isinstance(source, QueueAddress), isinstance(destination, QueueAddress)
    if from_queue and to_queue:
        raise UsageError(
            "--resume is for a file and a queue: a relay keeps nothing, what it had not passed "
            "on is still in its source"
        )
    if not from_queue and not to_queue:
        raise UsageError(
            "--resume is for a file and a queue: the queue of a local copy ends with it"
        )
    local = destination if from_queue else source
    if not isinstance(local, PathAddress) or is_special(local.path):
        raise UsageError(
            f"--resume needs a regular file: what went through {local} can't be read again"
        )


def _check_source(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a directory")
    if not os.access(path, os.R_OK):
        raise UsageError(f"can't read {path}: permission denied")


def _check_different(source: Path, destination: Path) -> None:
    real = real_path(destination)
    for place, text in (
        (real, "source and destination are the same file"),
        (part_of(real), f"the source is {part_of(real)}, which the copy would write to"),
    ):
        with suppress(OSError):
            if source.samefile(place) and stat.S_ISREG(source.stat().st_mode):
                raise UsageError(text)
