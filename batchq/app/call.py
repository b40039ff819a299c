"""One request as the verbs see it: its head, and its body as it comes.

A body is counted while it comes and kept in its pieces, which are joined once, later.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from batchq.errors import BadRequest, TooLarge
from batchq.http2 import BODY_EXTENSION, INTAKE_EXTENSION, BodyTooLargeError, ClientGoneError

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Gather = Callable[[int], Awaitable[list[bytes]]]

_LENGTH: Final = re.compile(rb"[0-9]{1,19}")

_ONCE: Final = frozenset(
    (
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"origin",
        b"producer-epoch",
        b"producer-id",
        b"producer-seq",
        b"queue-id",
        b"sec-fetch-site",
    )
)
"""Headers whose second value would be a contradiction."""

DISCARD_SECONDS: Final = 2.0
_DISCARD_BYTES: Final = 16 * 1024 * 1024
"""How much of a body is still taken after its request was refused. A client that is cut
off while it sends may see a reset in place of the answer (RFC 9112, 9.6)."""


class ClientGone(Exception):
    """The client left: there is nobody to answer, and what it began is void."""


class Call:
    """A request.

    Args:
        scope: the ASGI scope.
        receive: the ASGI channel of its body, and of the news that the client left.

    Attributes:
        method: in upper case.
        query: the query string as it came.
        headers: by lower-case name; of those that came twice, the last.
        complete: the body has been received to its end.
        early: an answer before that is no trouble, as the connection itself takes what is left.
    """

    __slots__ = ("_gather", "_receive", "_scope", "complete", "early", "headers", "method", "query")

    def __init__(self, scope: Any, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self.method: str = scope["method"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.complete = False
        extension = scope.get("extensions", {}).get(BODY_EXTENSION)
        self._gather: Gather | None = None if extension is None else extension["gather"]
        self.early = extension is not None

    def check(self) -> None:
        """Refuses a header that is given twice and may be given once.

        Raises:
            BadRequest: there is one; the detail names it.
        """
        fields = self._scope["headers"]
        if len(fields) == len(self.headers):
            return
        seen = set()
        for name, _ in fields:
            if name in seen and name in _ONCE:
                raise BadRequest(f"{name.decode().title()} is given twice: give it once")
            seen.add(name)

    def text(self, name: bytes) -> str:
        """A header's value, or an empty string."""
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1")

    def joined(self, name: bytes) -> str:
        """The value of a header that is a list and may come in several fields (RFC 9110, 5.3)."""
        if name not in self.headers:
            return ""
        return b",".join(value for key, value in self._scope["headers"] if key == name).decode(
            "latin-1"
        )

    async def body(self, limit: int) -> list[bytes]:
        """Receives the body.

        Args:
            limit: bytes that it may have.

        Returns:
            Its pieces, in order.

        Raises:
            TooLarge: it has more: told before it is received where ``Content-Length``
                shows it, else as soon as the count passes the limit.
            ClientGone: it broke off.
        """
        length = self.headers.get(b"content-length")
        if length is not None:
            if _LENGTH.fullmatch(length) is None:
                raise BadRequest("Content-Length must be a whole number")
            if int(length) > limit:
                raise _too_large(limit)
        if self._gather is not None:
            return await self._gathered(self._gather, limit)
        intake = self._scope.get("extensions", {}).get(INTAKE_EXTENSION)
        most = limit if length is None else int(length)
        pieces: list[bytes] = []
        size = 0
        while not self.complete:
            piece = await self._piece()
            if piece:
                size += len(piece)
                if size > limit:
                    raise _too_large(limit)
                pieces.append(piece)
                if intake is not None:
                    await intake(len(piece), most - size)
        return pieces

    async def _gathered(self, gather: Gather, limit: int) -> list[bytes]:
        """Receives the body with one wake-up; the connection drops what is above the limit."""
        self.complete = True
        try:
            return await gather(limit)
        except BodyTooLargeError:
            raise _too_large(limit) from None
        except ClientGoneError:
            raise ClientGone from None

    async def gone(self) -> None:
        """Returns when the client has left. The body has been received before."""
        try:
            while True:
                await self._piece()
        except ClientGone:
            return

    async def discard(self) -> None:
        """Receives what is left of the body and drops it, within bounds of size and time."""
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                left = _DISCARD_BYTES
                while not self.complete and left > 0:
                    left -= len(await self._piece())
        except (ClientGone, TimeoutError):
            return

    async def _piece(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        if not message.get("more_body", False):
            self.complete = True
        piece: bytes = message.get("body", b"")
        return piece


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is above {limit} bytes: send less at once, or raise --max-body")
