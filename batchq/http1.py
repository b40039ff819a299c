"""What Hypercorn's HTTP/1.1 lacks, and nothing else: a word with the answer to bad bytes.

Bytes that are no request never reach the application; Hypercorn answers them with a bare
status. Here they get a problem document, as every other error does; ``refusal`` makes it for
HTTP/2 as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import h11
import hypercorn.protocol as hypercorn_protocol
from hypercorn.protocol.h11 import H11Protocol as StockH11Protocol

from batchq.app.answer import Answer, number
from batchq.app.problems import refused, unexpected

_TITLES: Final = {
    400: "Bad request",
    404: "Not found",
    413: "Too large",
    414: "URI too long",
    431: "Header too large",
    501: "Not implemented",
}


def refusal(status: int) -> Answer:
    """Answers what never reaches the application, over HTTP/1.1 and HTTP/2 alike."""
    if status == 500:
        return unexpected()
    return refused(status, _TITLES.get(status, "Bad request"))


class H11Protocol(StockH11Protocol):
    """One HTTP/1.1 connection."""

    async def _send_error_response(self, status_code: int) -> None:
        answer = refusal(status_code)
        headers = [
            *answer.headers,
            (b"content-length", number(len(answer.body))),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=answer.body))
        await self._send_h11_event(h11.EndOfMessage())


@contextmanager
def installed() -> Iterator[None]:
    """Has the HTTP/1.1 connections that start in the block served by this module.

    It rebinds ``hypercorn.protocol.H11Protocol``, which is looked up as one starts.
    """
    module: Any = hypercorn_protocol
    stock = module.H11Protocol
    module.H11Protocol = H11Protocol
    try:
        yield
    finally:
        module.H11Protocol = stock
