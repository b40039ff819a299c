"""What Redis's errors mean here.

Which of them leave open whether the command took effect is the one thing that matters:
those are repeated, with the number they had.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from redis import exceptions

from batchq.errors import StoreUnavailable


class Meaning(Enum):
    """What an error says about the command."""

    UNKNOWN = "it may have taken effect"
    NOT_NOW = "it had no effect; soon it may"
    REFUSED = "it had no effect, and won't until somebody does something"


_NOT_NOW: Final = (
    "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MOVED", "ASK",
)  # fmt: skip
_REFUSED: Final = {
    "OOM": "Redis is out of memory (maxmemory): pull what is queued, or give it more",
    "NOREPLICAS": "too few replicas are in reach (min-replicas-to-write)",
    "MISCONF": "Redis can't write to its disk (stop-writes-on-bgsave-error)",
    "NOAUTH": "Redis asks for a password: put it in the URL",
    "WRONGPASS": "Redis does not know this user and password",
    "NOPERM": "Redis does not permit this user what batchq needs",
}
"""By the word that Redis begins its error with (scripts put it in the middle)."""


def meaning(error: Exception) -> Meaning:
    """Tells what an error of redis-py says about the command."""
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return Meaning.REFUSED
    if isinstance(error, exceptions.ResponseError | exceptions.BusyLoadingError):
        text = str(error)
        return Meaning.NOT_NOW if _begins_with(text, _NOT_NOW) else Meaning.REFUSED
    if isinstance(
        error, exceptions.ConnectionError | exceptions.TimeoutError | OSError | TimeoutError
    ):
        return Meaning.UNKNOWN
    return Meaning.REFUSED


def unavailable(error: Exception) -> StoreUnavailable:
    """Makes the error that the caller is told."""
    text = str(error)
    for word, detail in _REFUSED.items():
        if _begins_with(text, (word,)):
            return StoreUnavailable(f"{detail}; Redis said: {text}")
    if meaning(error) is Meaning.REFUSED:
        return StoreUnavailable(f"Redis refused: {text}")
    return StoreUnavailable(f"Redis can't be reached ({text}); try again")


def _begins_with(text: str, words: tuple[str, ...]) -> bool:
    return any(
        text.startswith(word) or f"-{word} " in text or f": {word} " in text for word in words
    )
