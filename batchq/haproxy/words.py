"""What may be said in HAProxy's own words: addresses to listen on, and where to log to."""

from __future__ import annotations

import re
from typing import Final

from batchq.haproxy.layout import LayoutError

_PORTS: Final = re.compile(r".*:([0-9]{1,9})(?:-([0-9]{1,9}))?", re.DOTALL)
_OTHER: Final = re.compile(r"(/|unix@|abns@|fd@|sockpair@).+", re.DOTALL)

_LOCAL: Final = tuple(f"local{number}" for number in range(8))
_FACILITIES: Final = frozenset((
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2"),
    *("ftp", "ntp", "audit", "alert", "cron2", *_LOCAL),
))  # fmt: skip
_LEVELS: Final = frozenset(("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"))
_SETTINGS: Final = frozenset(("len", "format", "sample"))


def check_bind(text: str) -> None:
    """Looks at the addresses of a ``bind``; its further words are HAProxy's to judge.

    Raises:
        LayoutError: one is no address with a port.
    """
    for address in (text.split() or [""])[0].split(","):
        if _OTHER.fullmatch(address):
            continue
        match = _PORTS.fullmatch(address)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= low <= high <= 65_535:
            raise LayoutError(f"{address!r} is not an address with a port, such as 127.0.0.1:8080")


def check_log(text: str) -> None:
    """Looks at the words of a ``log``.

    Raises:
        LayoutError: HAProxy would not take them.
    """
    words = text.split()[1:]
    while words and words[0] in _SETTINGS:
        words = words[2:]
    levels = words[1:]
    if words[:1] and words[0] in _FACILITIES and len(levels) <= 2 and set(levels) <= _LEVELS:
        return
    raise LayoutError(
        f"{text!r} does not say where to log to: give a target and a facility, such as "
        "'127.0.0.1:514 local0' or 'stdout format raw daemon'"
    )
