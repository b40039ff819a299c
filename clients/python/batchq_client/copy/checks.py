"""What can be seen to be wrong with two addresses before anything is touched."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from batchq_client.copy.addresses import Address, PathAddress, QueueAddress
from batchq_client.copy.outcome import UsageError
from batchq_client.copy.sink import check_destination, part_of, real_path


def check_sides(source: Address, destination: Address) -> None:
    """Refuses a copy that can't work.

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
