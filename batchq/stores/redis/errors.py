"""What Redis's errors mean here.

Which of them leave open whether the command took effect is the one thing that matters:
those are repeated, with the number they had.

redis-py has a class for most of the words that Redis begins an error with, and leaves the
word out of the text then; scripts of Redis 6 put the word in the middle of another error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from batchq.errors import StoreUnavailable

AWAY: Final = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    OSError,
    TimeoutError,
    RuntimeError,
)
"""All that redis-py raises when Redis can't be reached or refuses; what a cluster's client
raises when it finds no node is no ``RedisError``. uvloop raises a ``RuntimeError`` where
something is written to a connection that was reset."""


class Meaning(Enum):
    """What an error says about the command."""

    UNKNOWN = "it may have taken effect"
    NOT_NOW = "it had no effect; soon it may"
    MOVING = "it had no effect; the queue's slot is on its way to another node"
    REFUSED = "it had no effect, and won't until somebody does something"


class NotSent(StoreUnavailable):
    """Redis is away, and was not asked: the call certainly had no effect."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An error that is known.

    Attributes:
        meaning: what it says.
        detail: what the caller is told.
        words: that begin it, as Redis sends it, or are somewhere in it.
        kinds: redis-py's classes for it.
    """

    meaning: Meaning
    detail: str
    words: tuple[str, ...] = ()
    kinds: tuple[type[Exception], ...] = ()


_KNOWN: Final = (
    _Known(
        Meaning.MOVING,
        "the queue's slot is being moved to another node of the cluster; try again",
        ("TRYAGAIN", "ASK", "MOVED", "non local key"),
        (exceptions.TryAgainError, exceptions.AskError),
    ),
    _Known(
        Meaning.NOT_NOW,
        "Redis has lost its primary (MASTERDOWN); try again",
        ("MASTERDOWN",),
        (exceptions.MasterDownError,),
    ),
    _Known(
        Meaning.NOT_NOW,
        "the cluster is not in order (CLUSTERDOWN); try again",
        ("CLUSTERDOWN", "while the cluster is down"),
        (exceptions.ClusterDownError,),
    ),
    _Known(
        Meaning.MOVING,
        "the nodes send the call to each other, as while a slot is being moved; try again",
        kinds=(exceptions.ClusterError,),
    ),
    _Known(
        Meaning.NOT_NOW,
        "this Redis is a replica (READONLY), as after a failover; try again, and if it stays so, "
        "name the primary in the URL",
        ("READONLY",),
        (exceptions.ReadOnlyError,),
    ),
    _Known(
        Meaning.NOT_NOW,
        "Redis reads its files (LOADING); try again",
        ("LOADING",),
        (exceptions.BusyLoadingError,),
    ),
    _Known(
        Meaning.NOT_NOW,
        "Redis is busy with a script (BUSY); try again",
        ("BUSY",),
    ),
    _Known(
        Meaning.REFUSED,
        "Redis is out of memory (maxmemory): pull what is queued, or give it more",
        ("OOM",),
        (exceptions.OutOfMemoryError,),
    ),
    _Known(
        Meaning.REFUSED,
        "too few replicas are in reach (min-replicas-to-write)",
        ("NOREPLICAS",),
    ),
    _Known(
        Meaning.REFUSED,
        "Redis can't write to its disk (stop-writes-on-bgsave-error)",
        ("MISCONF",),
    ),
    _Known(
        Meaning.REFUSED,
        "Redis asks for a password: put it in the URL",
        ("NOAUTH", "Authentication required"),
    ),
    _Known(
        Meaning.REFUSED,
        "Redis does not know this user and password",
        ("WRONGPASS",),
        (exceptions.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError),
    ),
    _Known(
        Meaning.REFUSED,
        "Redis does not permit this user what batchq needs",
        ("NOPERM",),
        (exceptions.NoPermissionError, exceptions.AuthorizationError),
    ),
)
"""What is known; the first that fits."""


def meaning(error: Exception) -> Meaning:
    """Tells what an error of redis-py says about the command."""
    known = _known(error)
    if known is not None:
        return known.meaning
    answered = isinstance(error, exceptions.ResponseError | exceptions.DataError)
    return Meaning.REFUSED if answered else Meaning.UNKNOWN


def unavailable(error: Exception) -> StoreUnavailable:
    """Makes the error that the caller is told."""
    if isinstance(error, MasterNotFoundError):
        return StoreUnavailable(_no_primary(str(error)))
    known, text = _known(error), str(error)
    if known is not None:
        return StoreUnavailable(f"{known.detail}; Redis said: {text}")
    if meaning(error) is Meaning.REFUSED:
        return StoreUnavailable(f"Redis refused: {text}")
    return StoreUnavailable(f"Redis can't be reached ({text or type(error).__name__}); try again")


def _known(error: Exception) -> _Known | None:
    text = str(error)
    for known in _KNOWN:
        if isinstance(error, known.kinds):
            return known
        if isinstance(error, exceptions.RedisError) and any(
            _has(text, word) for word in known.words
        ):
            return known
    return None


def _has(text: str, word: str) -> bool:
    if not word.isupper():
        return word in text
    return text.startswith(f"{word} ") or f"-{word} " in text or f": {word} " in text


def _no_primary(text: str) -> str:
    """Says why the sentinels name no primary, without the connections that redis-py lists."""
    said, _, why = text.partition(" : ")
    if "AuthenticationError" in why:
        said += ": they ask for a password, ?sentinel_password="
    elif why:
        said += ": not all sentinels answer"
    return f"Redis can't be reached ({said}); try again"
