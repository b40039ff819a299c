"""What can go wrong on a network, as values; ``support.proxy`` makes it happen.

A plan is a pure function of its seed and a connection's number, so that a run can be
repeated as far as TCP allows: how a stream is cut into reads, and in which order
connections come, is not the plan's to choose.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

_PREFACE: Final = b"PRI * HTTP/2.0"
_FRAME_HEADER: Final = 9
_HEADERS: Final = 1
_DATA: Final = 0
_END_STREAM: Final = 0x1


class Kind(StrEnum):
    """A kind of fault; ``Fault`` tells what its numbers mean to each."""

    DELAY = "delay"
    THROTTLE = "throttle"
    CUT = "cut"
    HALF_CLOSE = "half-close"
    BLACK_HOLE = "black-hole"
    DROP_ANSWER = "drop-answer"
    REFUSE = "refuse"


class Way(StrEnum):
    """A direction of a connection."""

    TO_SERVER = "to-server"
    TO_CLIENT = "to-client"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one connection. It strikes once ``after`` bytes have gone ``way``.

    ``delay``: these bytes stand still for ``seconds``, and then go on.

    ``throttle``: for ``seconds`` they go on at ``rate`` bytes a second.

    ``cut``: both sides lose the connection, when exactly ``after`` bytes have been passed on.

    ``half-close``: the receiver of this way is told the end; what still comes for it is
    swallowed, and the other way goes on. The connection is lost after ``seconds``.

    ``black-hole``: both ways are swallowed in silence; the connection is lost after ``seconds``.

    ``drop-answer``: the first answer that begins once ``after`` bytes have gone to the client
    is swallowed, and then the connection is cut: the unknown outcome. On HTTP/2 without TLS an
    answer begins with HEADERS, and the cut comes at the end of its stream, at the latest
    after ``seconds``. On any other connection it is what the server sends next.

    ``refuse``: the connection is cut, and for ``seconds`` new ones are refused.

    Attributes:
        kind: what happens.
        way: the direction that is counted (and struck, where only one is).
        after: bytes that pass unharmed.
        seconds: how long it lasts.
        rate: bytes a second, of a throttled connection.
        reset: a lost connection is lost by RST, and not by FIN.
    """

    kind: Kind
    way: Way = Way.TO_SERVER
    after: int = 0
    seconds: float = 0.0
    rate: int = 64 * KIB
    reset: bool = True


def drop_answer(*, after: int = 0, seconds: float = 1.0, reset: bool = True) -> Fault:
    """The fault that swallows an answer."""
    return Fault(Kind.DROP_ANSWER, Way.TO_CLIENT, after, seconds, reset=reset)


ALL_KINDS: Final = tuple(Kind)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults by chance, the same ones for the same seed.

    The first ``limit`` connections carry one fault each, and those after them none: so
    every run comes to an end. The kinds take turns, in an order that the seed gives.

    Attributes:
        seed: of the chance.
        kinds: those that may happen.
        limit: connections with a fault.
        skip: connections without one before the first.
        span: faults strike after up to this many bytes, and as often early as late
            (the logarithm is evenly distributed).
        seconds: the longest that a fault lasts.
        ways: the directions.
    """

    seed: int
    kinds: tuple[Kind, ...] = ALL_KINDS
    limit: int = 8
    skip: int = 0
    span: int = 256 * KIB
    seconds: float = 0.1
    ways: tuple[Way, ...] = (Way.TO_SERVER, Way.TO_CLIENT)
    _order: tuple[Kind, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        order = list(self.kinds)
        random.Random(f"{self.seed} kinds").shuffle(order)
        object.__setattr__(self, "_order", tuple(order))

    def of(self, connection: int) -> Fault | None:
        """The fault of a connection, by its number from 0, or None."""
        number = connection - self.skip
        if not 0 <= number < self.limit:
            return None
        chance = random.Random(f"{self.seed} connection {number}")
        kind = self._order[number % len(self._order)]
        way = Way.TO_CLIENT if kind is Kind.DROP_ANSWER else chance.choice(self.ways)
        return Fault(
            kind,
            way,
            after=int(self.span ** chance.random()) - 1,
            seconds=self.seconds * chance.uniform(0.1, 1.0),
            rate=chance.randrange(8 * KIB, MIB),
            reset=chance.random() < 0.5,
        )


class AnswerWatch:
    """Finds where answers begin and end in what a server sends.

    Args:
        sent: the first bytes that the client sent: they tell the protocol.
    """

    def __init__(self, sent: bytes) -> None:
        self.is_http2 = sent.startswith(_PREFACE)
        self._head = b""
        self._payload = 0
        self._answer = 0

    def begins(self, data: bytes, start: int) -> int | None:
        """Follows ``data``, up to the first answer that begins at ``start`` of it or later.

        The stream from there on has to be given to ``ends``. An answer whose frame
        header is torn by the border before ``data`` begins at 0.

        Returns:
            Where in ``data`` the answer begins, or None: all of it was followed.
        """
        if not self.is_http2:
            return max(start, 0) if start < len(data) else None
        at = 0
        while at < len(data):
            torn = b"" if self._is_over else self._head
            frame = at - len(torn)
            at, opened = self._follow(data, at)
            if opened and self._head[3] == _HEADERS and frame >= start:
                self._answer = self._stream
                self._head = torn
                self._payload = 0
                return max(frame, 0)
        return None

    def ends(self, data: bytes) -> bool:
        """Follows ``data``, and tells whether the answer ends in it."""
        if not self.is_http2:
            return True
        at = 0
        while at < len(data):
            at, _ = self._follow(data, at)
            if self._is_last and self._payload == 0:
                return True
        return False

    @property
    def _stream(self) -> int:
        return int.from_bytes(self._head[5:9], "big") & 0x7FFFFFFF

    @property
    def _is_over(self) -> bool:
        """Whether the frame that was followed is complete: another one comes."""
        return len(self._head) == _FRAME_HEADER and self._payload == 0

    @property
    def _is_last(self) -> bool:
        """Whether the frame that is followed is the answer's last."""
        return (
            len(self._head) == _FRAME_HEADER
            and self._stream == self._answer
            and self._head[3] in (_HEADERS, _DATA)
            and self._head[4] & _END_STREAM != 0
        )

    def _follow(self, data: bytes, at: int) -> tuple[int, bool]:
        """Goes on to the end of a frame's header (and tells so), or of its payload."""
        if len(self._head) == _FRAME_HEADER and self._payload:
            step = min(self._payload, len(data) - at)
            self._payload -= step
            return at + step, False
        if self._is_over:
            self._head = b""
        piece = data[at : at + _FRAME_HEADER - len(self._head)]
        self._head += piece
        opened = len(self._head) == _FRAME_HEADER
        if opened:
            self._payload = int.from_bytes(self._head[:3], "big")
        return at + len(piece), opened
