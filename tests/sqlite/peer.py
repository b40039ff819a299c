"""A client of one plain connection, and what it enters into the account."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from email.message import Message
from typing import Self
from urllib.parse import urlsplit

from support.accounting import Account, Delivery


class Peer:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def call(
        self,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> tuple[int, Message, bytes]:
        self.connection.request(method, target, body, dict(headers or {}))
        return self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def answer(self) -> tuple[int, Message, bytes]:
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()


def numbers(seq: int) -> dict[str, str]:
    """A batch's number, in the headers of its push."""
    return {"Producer-Id": "w", "Producer-Epoch": "0", "Producer-Seq": str(seq)}


def push(peer: Peer, account: Account, seq: int, data: bytes) -> int:
    """Pushes a numbered batch, once; gives the status."""
    account.attempted("w", seq, data)
    status, headers, _ = peer.call("/push/q", data, numbers(seq))
    note(account, seq, status, headers)
    return status


def note(account: Account, seq: int, status: int, headers: Message) -> None:
    """Enters what was answered to a push."""
    if status == 200:
        offset, position = int(headers["Batch-Offset"]), int(headers["Batch-Position"])
        account.acknowledged("w", seq, offset=offset, position=position)
    elif status == 204:
        account.acknowledged("w", seq)


def take(peer: Peer, account: Account) -> bool:
    """Takes a batch and acknowledges it; tells whether there was one."""
    asked = account.tick()
    status, told, data = peer.call("/pull/q?wait=0&lease=60")
    if status == 204:
        return False
    assert status == 200
    offset, position, lines, deliveries = (
        int(told[f"Batch-{name}"]) for name in ("Offset", "Position", "Lines", "Deliveries")
    )
    lease = told["Batch-Lease"]
    account.delivered(Delivery(offset, position, lines, data, deliveries, lease, asked))
    status, _, _ = peer.call(f"/ack/q?lease={lease}")
    assert status == 204
    account.done(lease)
    return True
