"""Kinds of flags: sizes, seconds, and each flag's variable in the environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SIZE: Final = re.compile(r"([0-9]{1,15})\s*(kib|mib|gib|k|m|g|b)?", re.IGNORECASE | re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{0,9})?|\.[0-9]{1,9}")

_LARGEST: Final = 2**60
"""Bytes: an EiB is beyond all that is held here, and small enough for whoever counts them."""

_LONGEST: Final = 100 * 366 * 86_400.0
"""Seconds: a hundred years, for what should never end."""

MANY: Final = 2**31 - 1
"""The largest number of whatever there may be many of."""


def size(low: int = 1, high: int = _LARGEST) -> Callable[[Any], int]:
    """A kind of flag: bytes, plain or as KiB, MiB, GiB (K, M, G mean the same).

    Args:
        low: the least.
        high: the most.
    """

    def read(value: Any) -> int:
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            raise click.BadParameter(f"{value!r} is not a size: give bytes, or such as 64KiB, 1MiB")
        found = int(match[1]) * _UNITS[(match[2] or "")[:1].lower()]
        if not low <= found <= high:
            raise click.BadParameter(f"{value!r} is not a size from {low} to {high} bytes")
        return found

    return read


def seconds(high: float = _LONGEST, low: float = 0.0) -> Callable[[Any], float]:
    """A kind of flag: seconds, decimals allowed, from ``low`` to ``high``."""

    def read(value: Any) -> float:
        text = str(value).strip()
        if _SECONDS.fullmatch(text) is None:
            raise click.BadParameter(f"{value!r} is not a number of seconds, such as 5 or 0.5")
        if float(text) > high:
            raise click.BadParameter(f"{value!r} is more than {high:.0f} seconds")
        if float(text) < low:
            raise click.BadParameter(f"{value!r} is less than {low:g} seconds")
        return float(text)

    return read


class _Number(click.IntRange):
    """Whole numbers in a range, whose refusal says which ones are right."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads one, as click asks for it."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a whole number from {self.min} to {self.max}", param, ctx)


def number(low: int, high: int = MANY) -> click.IntRange:
    """A kind of flag: a whole number.

    Args:
        low: the least.
        high: the most.
    """
    return _Number(low, high)


def flag(name: str, **settings: Any) -> Callable[[_F], _F]:
    """A flag with its variable ``BATCHQ_…`` in the environment; both are in ``--help``.

    Args:
        name: without the dashes.
        settings: as ``click.option`` has them.
    """
    return click.option(
        f"--{name}",
        envvar="BATCHQ_" + name.upper().replace("-", "_"),
        show_envvar=True,
        **{"show_default": True, **settings},
    )
