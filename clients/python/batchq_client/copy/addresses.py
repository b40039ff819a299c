"""The two sides of a copy as they are written on a command line.

A side is a path, ``-`` for the standard input or output, or a queue's URL. Nothing is
opened here, so that a mistake costs nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from batchq_client.copy.outcome import UsageError

_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HTTP: Final = ("http", "https")
_VERBS: Final = ("push", "pull")


@dataclass(frozen=True, slots=True)
class PathAddress:
    """A file, or something else with a name in the file system."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class StandardStream:
    """The standard input as a source, the standard output as a destination."""

    def __str__(self) -> str:
        return "-"


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """A queue of a server.

    Attributes:
        base_url: the server's URL with its path prefix, without a slash at its end.
        queue: the queue's name.
    """

    base_url: str
    queue: str

    def __str__(self) -> str:
        return f"{self.base_url}/{self.queue}"


LocalAddress = PathAddress | StandardStream
Address = LocalAddress | QueueAddress


def parse_address(text: str) -> Address:
    """Reads one side of a copy.

    Raises:
        UsageError: it is none; the text says what is right.
    """
    if not text:
        raise UsageError("an address is empty: give a path, - or a queue's URL")
    if text == "-":
        return StandardStream()
    scheme = _SCHEME.match(text)
    if scheme is None:
        if "\0" in text:
            raise UsageError("a path holds a NUL")
        return PathAddress(Path(text))
    if scheme[1].lower() not in _HTTP:
        raise UsageError(
            f"{text}: {scheme[1]}:// is not spoken here; a queue is http://… or https://…"
        )
    return _queue_url(text)


def queue_at(base_url: str, queue: str) -> QueueAddress:
    """Puts a server's URL and a queue's name together.

    Raises:
        UsageError: one of them can't be used.
    """
    scheme = _SCHEME.match(base_url)
    if scheme is None or scheme[1].lower() not in _HTTP:
        raise UsageError(f"{base_url!r} is not a server's URL, such as http://host:8080")
    if _QUEUE_NAME.fullmatch(queue) is None:
        raise UsageError(_bad_name(queue))
    return _queue_url(f"{base_url.rstrip('/')}/{queue}")


def _queue_url(text: str) -> QueueAddress:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text}: not a URL ({error})") from None
    if not parts.hostname:
        raise UsageError(f"{text}: the URL names no host")
    if port == 0:
        raise UsageError(f"{text}: no server listens on port 0")
    if parts.username is not None:
        raise UsageError(f"{parts.hostname}: a URL with a user name is not taken")
    if parts.query or parts.fragment:
        raise UsageError(f"{text}: a queue's URL has no ? and no #")
    root = f"{parts.scheme}://{parts.netloc}"
    prefix, _, queue = parts.path.rpartition("/")
    if not queue:
        raise UsageError(f"{text}: names no queue; write {text.rstrip('/')}/<queue>")
    above, _, verb = prefix.rpartition("/")
    if verb in _VERBS:
        raise UsageError(f"{text}: leave out /{verb}: the queue is {root}{above}/{queue}")
    if _QUEUE_NAME.fullmatch(queue) is None:
        raise UsageError(f"{text}: {_bad_name(queue)}")
    return QueueAddress(root + prefix.rstrip("/"), queue)


def _bad_name(queue: str) -> str:
    return (
        f"{queue!r} is not a queue's name: use 1 to 128 of A-Z a-z 0-9 . _ -, "
        "the first of them a letter or digit"
    )
