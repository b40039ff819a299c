"""Clients that enter into the account what they send and what they are told."""

from __future__ import annotations

import asyncio

import httpx
from support.accounting import Account, Delivery

from batchq_client.transport import MultiplexTransport


class Recording:
    """What the clients of a test do.

    Args:
        account: where it is noted.

    Attributes:
        unanswered: pushes that were sent and not yet answered.
        answered: pushes that were answered as stored.
        moved: set whenever one of the two changes.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.unanswered = 0
        self.answered = 0
        self.moved = asyncio.Event()

    def http(self) -> httpx.AsyncClient:
        """Makes what a client sends its requests with."""
        return httpx.AsyncClient(transport=_Transport(self), trust_env=False)


class _Transport(httpx.AsyncBaseTransport):
    """Passes requests on, and notes pushes, pulls and acknowledgements."""

    def __init__(self, recording: Recording) -> None:
        self._inner = MultiplexTransport()
        self._recording = recording
        self._account = recording.account

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        verb = request.url.path.split("/")[1]
        if verb == "push":
            return await self._push(request)
        asked = self._account.tick()
        answer = await self._inner.handle_async_request(request)
        if verb == "pull" and answer.status_code == 200:
            await self._delivered(answer, asked)
        elif verb == "ack" and answer.status_code in (204, 409):
            lost = answer.headers.get("lease-lost", "")
            gone = {name.strip() for name in lost.split(",")}
            for lease in request.url.params.get_list("lease"):
                if lease not in gone:
                    self._account.done(lease)
        return answer

    async def _push(self, request: httpx.Request) -> httpx.Response:
        # A new epoch cuts the source anew, and counts as another producer.
        producer = f"{request.headers['producer-id']}/{request.headers['producer-epoch']}"
        seq = int(request.headers["producer-seq"])
        self._account.attempted(producer, seq, request.content)
        self._recording.unanswered += 1
        self._recording.moved.set()
        try:
            answer = await self._inner.handle_async_request(request)
        finally:
            self._recording.unanswered -= 1
            self._recording.moved.set()
        if answer.status_code == 204:
            self._account.acknowledged(producer, seq)
        elif answer.status_code == 200:
            place = (int(answer.headers[f"batch-{name}"]) for name in ("offset", "position"))
            offset, position = place
            self._account.acknowledged(producer, seq, offset=offset, position=position)
        self._recording.answered += answer.is_success
        return answer

    async def _delivered(self, answer: httpx.Response, asked: int) -> None:
        told = {
            name: int(answer.headers[f"batch-{name}"])
            for name in ("offset", "position", "lines", "deliveries")
        }
        lease = answer.headers.get("batch-lease")
        data = await answer.aread()
        self._account.delivered(Delivery(**told, data=data, lease=lease, asked=asked))

    async def aclose(self) -> None:
        await self._inner.aclose()
