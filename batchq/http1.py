"""What Hypercorn's HTTP/1.1 lacks, and nothing else: a word with the answer to bad bytes.

Bytes that are no request never reach the application; Hypercorn answers them with a bare
status. Here they get a problem document, as every other error does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import hypercorn.protocol as hypercorn_protocol
from hypercorn.protocol.h11 import H11Protocol as StockH11Protocol

from batchq.app.answer import number
from batchq.app.problems import refused
from batchq.http2.frames import PREFACE


class H11Protocol(StockH11Protocol):
    """One HTTP/1.1 connection."""

    async def _send_error_response(self, status_code: int) -> None:
        unread, over = self.connection.trailing_data
        if over and unread and PREFACE.startswith(unread):
            # A client of HTTP/2 was cut off within its first bytes. An answer in HTTP/1.1
            # would tell it that HTTP/2 is not spoken here.
            return
        answer = refused(status_code)
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
