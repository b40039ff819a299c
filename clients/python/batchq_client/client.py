"""The client: one typed method for each call of the protocol.

It knows nothing of files, retries or copies. A method does one request and either
returns what the server said or raises a ``batchq_client.errors.ClientError``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx
import orjson

from batchq_client import answers
from batchq_client.errors import (
    Incompatible,
    NetworkFault,
    UnexpectedAnswer,
    error_of,
    fault_of,
)
from batchq_client.model import (
    End,
    Health,
    Nothing,
    Numbering,
    ProducerState,
    Pulled,
    Pushed,
    QueueStats,
)
from batchq_client.probe import said_nothing, speaks_tls
from batchq_client.session import PULL, ROLE, open_http, trusted
from batchq_client.transport import AT_ONCE_EXTENSION

_T = TypeVar("_T")

_CONNECT_SECONDS: Final = 10.0
_WRITE_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 10.0
"""How long an answer may take beyond the wait that was asked for."""

_PARKED_SECONDS: Final = 40.0
"""How long a numbered batch may be kept for the ones before it (30 s), and some."""

_LONGEST_WAIT: Final = 60.0
"""A pull that does not say how long it waits is answered in this time by a default server."""

_PUSH_TYPE: Final = {"content-type": "application/octet-stream"}


class Client:
    r"""A client of one server.

        async with Client("http://localhost:8080") as client:
            await client.push("ids", b"1\n2\n")

    Args:
        base_url: the server's URL; a path in it is a prefix of all calls.
        http: the httpx client to use, which stays the caller's to close; by default one
            that speaks HTTP/2 is made and closed here.

    Raises:
        ValueError: the URL is not one of http or https, or has a query or fragment.
        ClientError: the environment names authorities that can't be read.
    """

    def __init__(self, base_url: str, *, http: httpx.AsyncClient | None = None) -> None:
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{base_url!r} is not a URL: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{base_url!r} is not a server's URL, such as http://host:8080")
        if url.query or url.fragment:
            raise ValueError(f"{base_url!r} has a query or a fragment: a server's URL has none")
        self.base_url = str(url).rstrip("/")
        self._owned = False
        if http is None:
            # Now, as it fails: no request could tell why.
            http = open_http(verify=trusted() if url.scheme == "https" else True)
            self._owned = True
        self._http = http
        self._met = False  # it has answered

    async def __aenter__(self) -> Self:
        """Gives the client; it connects when it is used."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections, unless the httpx client is the caller's."""
        if self._owned:
            await self._http.aclose()

    async def push(
        self,
        queue: str,
        data: bytes,
        *,
        numbering: Numbering | None = None,
        queue_id: str | None = None,
        wait: float = 0.0,
    ) -> Pushed:
        r"""Appends a batch.

        Args:
            queue: the queue's name.
            data: the payload: lines, each followed by ``\n`` (the server adds a missing last one).
            numbering: the batch's number, so that a retry never adds it twice.
            queue_id: the life that it is meant for, or None for the current one.
            wait: seconds to wait for room when the queue is full.

        Raises:
            ClientError: see ``batchq_client.errors``.
        """
        params = {"wait": _seconds(wait)} if wait > 0 else {}
        headers = {**_PUSH_TYPE, **_about(queue_id, numbering)}
        timeout = _timeout(wait + _PARKED_SECONDS)
        response = await self._send(
            "POST", f"push/{_segment(queue)}", headers, params, data, timeout=timeout
        )
        return _read(response, answers.pushed)

    async def pull(  # noqa: PLR0913  a pull has that many parameters
        self,
        queue: str,
        *,
        minimum: int = 1,
        maximum: int | None = None,
        max_bytes: int | None = None,
        wait: float | None = None,
        partial: bool = True,
        lease: float | None = None,
        lease_id: str | None = None,
        ack: Sequence[str] = (),
        queue_id: str | None = None,
    ) -> Pulled | Nothing | End:
        """Takes a batch. It is given up ``wait`` + 10 s after it was sent, not before.

        Args:
            queue: the queue's name.
            minimum: answer once this many lines are ready.
            maximum: at most this many lines.
            max_bytes: at most this many payload bytes, but at least one line.
            wait: seconds to wait, or None for the server's own default.
            partial: when the wait is over with fewer than ``minimum``, take what there is.
            lease: seconds to hold the lines, or None to be done with them when they are sent.
            lease_id: an id of the caller's choice, so that a retry gets the same lines.
            ack: ids of leases to acknowledge first.
            queue_id: the life to take from, or None for whichever comes.

        Raises:
            ClientError: see ``batchq_client.errors``. Without a lease, lines may be lost
                with an ``OutcomeUnknown``.
        """
        params: list[tuple[str, str]] = []
        if minimum != 1:
            params.append(("min", str(minimum)))
        if not partial:
            params.append(("partial", "false"))
        for name, value in (("max", maximum), ("max_bytes", max_bytes), ("lease_id", lease_id)):
            if value is not None:
                params.append((name, str(value)))
        for name, seconds in (("wait", wait), ("lease", lease)):
            if seconds is not None:
                params.append((name, _seconds(seconds)))
        params += [("ack", lease) for lease in ack]
        longest = _LONGEST_WAIT if wait is None else wait
        response = await self._send(
            "POST",
            f"pull/{_segment(queue)}",
            _about(queue_id),
            params,
            timeout=_timeout(longest + _ANSWER_SECONDS),
            extensions={ROLE: PULL, AT_ONCE_EXTENSION: True},
        )
        return _read(response, answers.pulled)

    async def ack(self, queue: str, leases: Sequence[str], *, queue_id: str | None = None) -> None:
        """Is done with the lines of leases.

        Raises:
            LeaseLost: some were unknown; the others are done with.
        """
        await self._leases("ack", queue, leases, queue_id)

    async def release(
        self, queue: str, leases: Sequence[str], *, queue_id: str | None = None
    ) -> None:
        """Puts the lines of leases back in their old place. Raises as ``ack``."""
        await self._leases("release", queue, leases, queue_id)

    async def extend(
        self, queue: str, leases: Sequence[str], seconds: float, *, queue_id: str | None = None
    ) -> None:
        """Lets leases end so many seconds from now. Raises as ``ack``."""
        await self._leases("extend", queue, leases, queue_id, ("seconds", _seconds(seconds)))

    async def close(
        self,
        queue: str,
        *,
        lines: int | None = None,
        total_bytes: int | None = None,
        digest: str | None = None,
        unterminated: bool = False,
        numbering: Numbering | None = None,
        queue_id: str | None = None,
    ) -> End:
        r"""Closes a queue.

        Args:
            queue: the queue's name; it is made if need be.
            lines: the writer's count of lines, to be compared.
            total_bytes: the writer's count of payload bytes, to be compared.
            digest: ``xxh3-128:<hex>`` over the exact bytes, by a writer that was alone.
            unterminated: the last line had no ``\n``.
            numbering: the close's number, as the producer's next batch.
            queue_id: the life that is meant.

        Raises:
            TotalsDiffer: the queue has other totals, and stays open.
            ClientError: see ``batchq_client.errors``.
        """
        fields = {"lines": lines, "bytes": total_bytes, "digest": digest}
        told: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        if unterminated:
            told["unterminated"] = True
        headers = {"content-type": "application/json", **_about(queue_id, numbering)}
        response = await self._send(
            "POST",
            f"close/{_segment(queue)}",
            headers,
            (),
            orjson.dumps(told),
            timeout=_timeout(_PARKED_SECONDS),
        )
        return _read(response, answers.closed)

    async def queues(self) -> list[QueueStats]:
        """All queues, by name."""
        response = await self._send("GET", "queues")
        return _read(response, answers.queues)

    async def queue(self, queue: str, *, queue_id: str | None = None) -> QueueStats:
        """One queue.

        Raises:
            NoSuchQueue: there is none of this name.
        """
        response = await self._send("GET", f"queues/{_segment(queue)}", _about(queue_id))
        return _read(response, answers.queue)

    async def producer(
        self, queue: str, producer: str, *, queue_id: str | None = None
    ) -> ProducerState | None:
        """What a queue has of one producer, or None where it does not know it.

        Raises:
            NoSuchQueue: there is no queue of this name.
        """
        params = {"producer": producer}
        response = await self._send("GET", f"queues/{_segment(queue)}", _about(queue_id), params)
        return _read(response, answers.producer)

    async def delete(self, queue: str, *, queue_id: str | None = None) -> None:
        """Ends a queue's life with all that it holds.

        Raises:
            NoSuchQueue: there is none of this name.
            QueueReplaced: the life that was meant is over.
        """
        await self._send("DELETE", f"queues/{_segment(queue)}", _about(queue_id))

    async def healthz(self) -> Health:
        """Whether the server lives, and what its store promises."""
        return _read(await self._send("GET", "healthz"), answers.health)

    async def _leases(
        self,
        verb: str,
        queue: str,
        leases: Sequence[str],
        queue_id: str | None,
        *more: tuple[str, str],
    ) -> None:
        params = [*(("lease", lease) for lease in leases), *more]
        await self._send("POST", f"{verb}/{_segment(queue)}", _about(queue_id), params)

    async def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        params: Any = (),
        content: bytes = b"",
        *,
        timeout: httpx.Timeout | None = None,  # noqa: ASYNC109  a deadline for each step, not in all
        extensions: dict[str, Any] | None = None,
    ) -> httpx.Response:
        """Does one request; gives its answer if it is a success.

        Raises:
            ClientError: it is none, or there is no answer.
        """
        try:
            response = await self._http.request(
                method,
                f"{self.base_url}/{path}",
                headers=headers,
                params=params or None,
                content=content,
                timeout=timeout or _timeout(_ANSWER_SECONDS),
                extensions=extensions,
                follow_redirects=False,
            )
        except httpx.TransportError as error:
            raise await self._fault(error) from error
        except (httpx.DecodingError, httpx.InvalidURL) as error:
            raise UnexpectedAnswer(f"the answer can't be read: {error}", 0) from error
        self._met = True
        if response.is_success:
            return response
        raise error_of(response)

    async def _fault(self, error: httpx.TransportError) -> NetworkFault:
        url = httpx.URL(self.base_url)
        # A server that wants TLS may close what it can't read without a word.
        if not self._met and url.scheme == "http" and said_nothing(error) and await speaks_tls(url):
            return Incompatible(f"can't talk to {self.base_url}: it speaks TLS; write https://")
        return fault_of(error, self.base_url, met=self._met)


def _read(response: httpx.Response, reader: Callable[[httpx.Response], _T]) -> _T:
    """Reads an answer's meaning.

    Raises:
        UnexpectedAnswer: it lacks what the protocol says, or has it in another form.
    """
    try:
        return reader(response)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"{response.request.url} answered {response.status_code} without {error}: "
            "is this a batchq server?",
            response.status_code,
        ) from error


def _about(queue_id: str | None, numbering: Numbering | None = None) -> dict[str, str]:
    headers = {} if queue_id is None else {"queue-id": queue_id}
    if numbering is not None:
        headers["producer-id"] = numbering.producer
        headers["producer-epoch"] = str(numbering.epoch)
        headers["producer-seq"] = str(numbering.seq)
    return headers


def _segment(queue: str) -> str:
    return quote(queue, safe="")


def _seconds(value: float) -> str:
    """Writes seconds without an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _timeout(answer: float) -> httpx.Timeout:
    return httpx.Timeout(connect=_CONNECT_SECONDS, read=answer, write=_WRITE_SECONDS, pool=answer)
