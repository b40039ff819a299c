"""A small writer and reader that do what the protocol asks of a careful client.

They speak plain HTTP/2 and know nothing of batchq's own client: what they show is the
server's doing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpcore
import httpx
from support.accounting import Account, Delivery

_PAUSE = 0.005
"""Seconds before something is sent again: longer would only make the runs longer."""


class _Closing(httpcore.AnyIOBackend):
    """Opens connections, and closes them all at the end.

    The pool forgets one whose opening failed, while a request that waited for it opens
    it again (httpcore 1.0): nobody else would close that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the base class's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await super().connect_tcp(host, port, timeout, local_address, socket_options)
        self._opened.append(stream)
        return stream

    async def close(self) -> None:
        for stream in self._opened:
            await stream.aclose()


class _OneReader(httpcore.AsyncHTTP2Connection):
    """Of all that wait for an answer one reads; whatever came, all look whether it is theirs.

    With httpcore's own (1.0) they queue for a lock, and the one whose turn it is reads on: an
    answer that is here already waits until the server says something else. A batch that was
    refused would not be sent again for as long as those after it are parked for want of it.
    """

    _came: asyncio.Event | None = None

    async def _receive_events(
        self, request: httpcore.Request, stream_id: int | None = None
    ) -> None:
        if self._came is not None:
            await self._came.wait()
            return
        came = self._came = asyncio.Event()
        try:
            await super()._receive_events(request, stream_id)
        finally:
            self._came = None
            came.set()


class _Connection(httpcore.AsyncHTTPConnection):
    """Speaks HTTP/2 by a ``_OneReader``."""

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        async with self._request_lock:
            if self._connection is None:
                try:
                    stream = await self._connect(request)
                except BaseException:
                    self._connect_failed = True
                    raise
                self._connection = _OneReader(self._origin, stream)
        return await super().handle_async_request(request)


class _Pool(httpcore.AsyncConnectionPool):
    """Opens such connections."""

    def create_connection(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        return _Connection(origin, http1=False, http2=True, network_backend=self._network_backend)


@asynccontextmanager
async def patient_client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that speaks HTTP/2, and leaves nothing open whatever happened to it."""
    backend = _Closing()
    transport = httpx.AsyncHTTPTransport()
    transport._pool = _Pool(network_backend=backend)
    try:
        async with httpx.AsyncClient(base_url=url, transport=transport, timeout=30.0) as client:
            yield client
    finally:
        await backend.close()


def delivery_of(answer: httpx.Response, asked: int | None = None) -> Delivery:
    """The lines of a pull's answer."""
    told = answer.headers
    return Delivery(
        offset=int(told["batch-offset"]),
        position=int(told["batch-position"]),
        lines=int(told["batch-lines"]),
        data=answer.content,
        deliveries=int(told["batch-deliveries"]),
        lease=told.get("batch-lease"),
        asked=asked,
    )


def ended(account: Account, answer: httpx.Response) -> bool:
    """Notes the end, if that is what the answer tells."""
    if answer.headers.get("queue-closed") != "true":
        return False
    account.ended(
        lines=int(answer.headers["queue-lines"]),
        bytes=int(answer.headers["queue-bytes"]),
        digest=answer.headers.get("queue-digest"),
    )
    return True


async def sent_until_answered(
    http: httpx.AsyncClient, path: str, **request: object
) -> tuple[httpx.Response, int]:
    """Sends the same request until it is answered; tells how often it was sent."""
    times = 0
    while True:
        times += 1
        try:
            answer = await http.post(path, **request)  # type: ignore[arg-type]
        except httpx.TransportError:
            await asyncio.sleep(_PAUSE)
            continue
        assert answer.status_code != 500, answer.text  # the server's fault, whatever befell it
        if answer.status_code < 500:
            return answer, times
        await asyncio.sleep(_PAUSE)


@dataclass
class Writer:
    """Pushes numbered batches, as long as it takes for each to be answered.

    Attributes:
        http: the way to the server.
        account: where it notes what it does.
        queue: the queue's name.
        producer: its ``Producer-Id``.
        epoch: its ``Producer-Epoch``.
        queue_id: the life that it speaks to, from its first answer on.
    """

    http: httpx.AsyncClient
    account: Account
    queue: str
    producer: str = "w"
    epoch: int = 0
    queue_id: str | None = None

    @property
    def name(self) -> str:
        """Its name in the account: a writer with a new epoch is another writer."""
        return f"{self.producer}/{self.epoch}"

    def headers(self, seq: int) -> dict[str, str]:
        """A batch's number, and the life it is for."""
        told = {
            "Producer-Id": self.producer,
            "Producer-Epoch": str(self.epoch),
            "Producer-Seq": str(seq),
        }
        return told if self.queue_id is None else {**told, "Queue-Id": self.queue_id}

    async def push(self, seq: int, data: bytes) -> httpx.Response:
        """Pushes a batch and resends it until the outcome is known."""
        self.account.attempted(self.name, seq, data)
        answer, _ = await sent_until_answered(
            self.http, f"/push/{self.queue}", content=data, headers=self.headers(seq)
        )
        self.note(seq, answer)
        return answer

    async def push_once(self, seq: int, data: bytes) -> httpx.Response:
        """Pushes a batch, once; it may fail with an unknown outcome."""
        self.account.attempted(self.name, seq, data)
        answer = await self.http.post(
            f"/push/{self.queue}", content=data, headers=self.headers(seq)
        )
        self.note(seq, answer)
        return answer

    def note(self, seq: int, answer: httpx.Response) -> None:
        """Notes what the server said of a batch."""
        told = answer.headers
        if answer.status_code == 200:
            offset, position = int(told["batch-offset"]), int(told["batch-position"])
            self.account.acknowledged(self.name, seq, offset=offset, position=position)
        elif answer.status_code == 204:
            self.account.acknowledged(self.name, seq)
        if answer.is_success:
            self.queue_id = told["queue-id"]

    async def push_all(
        self, batches: Sequence[bytes], window: int, before: Callable[[int], None]
    ) -> None:
        """Pushes batches, several at a time; ``before`` is told each one's number.

        A gap that stays until the server gives it up fails: none of them was left out, so that
        something has stood still for half a minute.
        """
        self.account_order(batches)
        assert (await self.push(0, batches[0])).is_success
        room = asyncio.Semaphore(window)

        async def one(seq: int) -> None:
            async with room:
                before(seq)
                answer = await self.push(seq, batches[seq])
                assert answer.is_success, answer.text

        async with asyncio.TaskGroup() as group:
            for seq in range(1, len(batches)):
                group.create_task(one(seq))

    def account_order(self, batches: Sequence[bytes]) -> None:
        """Notes all batches before the first is sent."""
        for seq, data in enumerate(batches):
            self.account.attempted(self.name, seq, data)

    async def close(self, seq: int, **totals: object) -> httpx.Response:
        """Closes the queue as the batch ``seq``, until that is answered."""
        answer, _ = await sent_until_answered(
            self.http, f"/close/{self.queue}", json=totals, headers=self.headers(seq)
        )
        return answer


@dataclass
class Reader:
    """Pulls on leases, acknowledges what it has, and sometimes forgets to.

    Attributes:
        http: the way to the server.
        account: where it notes what it got.
        queue: the queue's name.
        chance: chooses lease ids, sizes, and what it forgets.
        lease: seconds of a lease.
        forgetful: how likely it is that it never acknowledges a batch it got.
        forgotten: how many it did not.
    """

    http: httpx.AsyncClient
    account: Account
    queue: str
    chance: random.Random
    lease: float = 30.0
    forgetful: float = 0.0
    forgotten: int = field(default=0, init=False)

    async def pull(self, **parameters: object) -> tuple[httpx.Response, Delivery | None, int]:
        """Pulls with a lease id of its own until that is answered, with the same id."""
        asked = self.account.tick()
        answer, times = await sent_until_answered(
            self.http,
            f"/pull/{self.queue}",
            params={
                "lease": self.lease,
                "lease_id": f"{self.chance.getrandbits(64):x}",
                "wait": 2,
                **parameters,
            },
        )
        if answer.status_code != 200:
            assert answer.status_code == 204, answer.text
            return answer, None, times
        delivery = delivery_of(answer, asked)
        self.account.delivered(delivery)
        return answer, delivery, times

    async def read_all(self) -> None:
        """Reads to the end."""
        due: str | None = None
        while True:
            acks = {} if due is None else {"ack": due}
            size = self.chance.choice((2_000, 30_000, 200_000))
            answer, delivery, times = await self.pull(max_bytes=size, **acks)
            # Sent twice, it may find its own ack done: whether by it, or as the lease
            # had run out, can't be told.
            if due is not None and times == 1 and "lease-lost" not in answer.headers:
                self.account.done(due)
            due = None
            if ended(self.account, answer):
                return
            if delivery is None or delivery.lease is None:
                continue
            if self.chance.random() < self.forgetful:
                self.forgotten += 1
            elif self.chance.random() < 0.5:
                due = delivery.lease
            else:
                await self.ack(delivery.lease)

    async def ack(self, lease: str) -> None:
        """Acknowledges a lease until that is answered."""
        answer, _ = await sent_until_answered(
            self.http, f"/ack/{self.queue}", params={"lease": lease}
        )
        if answer.is_success:
            self.account.done(lease)
        else:
            assert answer.json()["code"] == "lease-lost", answer.text
