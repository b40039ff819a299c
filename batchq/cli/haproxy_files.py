"""The files of ``batchq haproxy``: configurations are read, and never overwritten by mistake."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from batchq.haproxy import Found, Layout, LayoutError, read


def read_config(path: Path) -> Found:
    """Reads a configuration.

    Raises:
        LayoutError: it is none; the text names the file.
    """
    try:
        return read(path.read_text())
    except (LayoutError, UnicodeDecodeError, OSError) as error:
        raise LayoutError(f"{path}: {error}") from None


def check_output(output: Path, layout: Layout, was: Path | None, before: Layout | None) -> None:
    """Refuses to overwrite the only record of another layout, and files of another kind.

    Args:
        output: the file that is to be written.
        layout: what is to be written there.
        was: the configuration in force, where it was named.
        before: its layout.

    Raises:
        LayoutError: it must not be overwritten.
    """
    if not output.exists():
        return
    try:
        there = read(output.read_text()).layout
    except (LayoutError, UnicodeDecodeError):
        raise LayoutError(f"{output} is there, and is another kind of file") from None
    except OSError as error:
        raise LayoutError(f"{output} can't be read: {error.strerror}") from None
    if was is None:
        if there != layout:
            raise LayoutError(
                f"{output} maps the slots otherwise, and queues may live there: say "
                f"--was {output} and another --output, or remove it where there are no queues yet"
            )
    elif before != layout and output.samefile(was):
        raise LayoutError(
            f"{output} is the only record of where queues live until they are moved: "
            "give another --output, and use that when they are"
        )


def write_config(path: Path, text: str) -> None:
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
