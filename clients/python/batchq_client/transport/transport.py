"""The transport itself: httpx requests in, httpx responses out."""

from __future__ import annotations

import asyncio
import math
import ssl
from typing import TYPE_CHECKING, Self

import httpx

from .connect import Origin, connect
from .errors import ClosedBeforeSettings, HTTP2NotSupported, StreamRefused, UnprocessedRequest
from .headers import request_fields
from .pool import OriginPool
from .settings import Timeouts, TransportSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from types import TracebackType

    from .connection import Connection
    from .stream import Stream

__all__ = ["AT_ONCE_EXTENSION", "ROLE_EXTENSION", "MultiplexTransport"]

ROLE_EXTENSION = "batchq.role"
# True where the answer's body is wanted in one piece: it is copied once less then, and
# given only when it is complete.
AT_ONCE_EXTENSION = "batchq.at_once"
# The wait before a refused stream is tried again, in seconds; it doubles each time.
_REFUSED_DELAY = 0.01
# How long one that closed without a word is taken for a peer without HTTP/2, in seconds.
_WITHOUT_A_WORD = 60.0


class MultiplexTransport(httpx.AsyncBaseTransport):
    """An httpx transport that sends all requests to an origin over few HTTP/2 connections.

    Use it with any client: `httpx.AsyncClient(transport=MultiplexTransport())`. Requests
    to `http://` speak HTTP/2 with prior knowledge, those to `https://` choose it by ALPN.

    The request's extension `"batchq.role"` (a string) gives a kind of request connections
    of its own, so that long polls and bulk transfers do not share windows. The response's
    extension `"trailers"` is a list that holds the trailers once the body has been read.

    A request whose answer is complete before its body was sent is over: the rest of the
    body is not sent. Requests that the peer has provably not acted on are sent again when
    their body is in memory; all else is an error for the caller, who asks
    `safe_to_resend`.

    Args:
        verify: As httpx has it: whether to verify certificates, or an SSL context.
        cert: As httpx has it: a client certificate.
        trust_env: Whether `SSL_CERT_FILE` and `SSL_CERT_DIR` are looked at.
        http1: Whether to speak HTTP/1.1, through httpx's own transport, with peers that
            have no HTTP/2. Without it, they are an `HTTP2NotSupported` error where they
            answer in another protocol, and `ClosedBeforeSettings` where they hang up.
        settings: Sizes and limits.
    """

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        cert: str | tuple[str, str] | tuple[str, str, str] | None = None,
        trust_env: bool = True,
        http1: bool = False,
        settings: TransportSettings | None = None,
    ) -> None:
        self._settings = settings or TransportSettings()
        self._verify = verify
        self._cert = cert
        self._trust_env = trust_env
        self._http1 = http1
        self._ssl_context: ssl.SSLContext | None = None
        self._pools: dict[Origin, OriginPool] = {}
        self._http1_until: dict[Origin, float] = {}
        self._http1_transport: httpx.AsyncHTTPTransport | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the answer's head.

        Raises:
            httpx.TransportError: What went wrong; `safe_to_resend` tells whether the
                peer certainly did nothing.
            RuntimeError: The transport is closed.
        """
        if self._closed:
            msg = "the transport is closed"
            raise RuntimeError(msg)
        origin = Origin.of(request.url, request.extensions.get(ROLE_EXTENSION, ""))
        now = asyncio.get_running_loop().time()
        if self._http1_until.get(origin, now) > now:
            return await self._speak_http1(request)
        try:
            return await self._resend_until_processed(request, origin)
        except (HTTP2NotSupported, ClosedBeforeSettings) as error:
            if not self._http1:
                raise
            is_sure = isinstance(error, HTTP2NotSupported)
        response = await self._speak_http1(request)
        # A server that was just ending closes as one without HTTP/2 does.
        self._http1_until[origin] = math.inf if is_sure else now + _WITHOUT_A_WORD
        return response

    async def _resend_until_processed(
        self, request: httpx.Request, origin: Origin
    ) -> httpx.Response:
        # A stream that is read from elsewhere may be half consumed.
        resends = self._settings.resends if isinstance(request.stream, httpx.ByteStream) else 0
        delay = _REFUSED_DELAY
        while True:
            try:
                return await self._exchange(request, origin)
            except HTTP2NotSupported:
                raise
            except UnprocessedRequest as error:
                if resends == 0:
                    raise
                resends -= 1
                if isinstance(error, StreamRefused):
                    await asyncio.sleep(delay)
                    delay *= 2

    async def _exchange(self, request: httpx.Request, origin: Origin) -> httpx.Response:
        timeouts = Timeouts.of(request)
        fields = request_fields(request)
        body = request.stream
        content = next(iter(body)) if isinstance(body, httpx.ByteStream) else None
        stream: Stream | None = None
        while stream is None:
            connection = await self._pool(origin).acquire(timeouts)
            stream = connection.open(fields, end_stream=content == b"")
        stream.at_once = bool(request.extensions.get(AT_ONCE_EXTENSION))
        try:
            if content is None:
                stream.send_pieces(body, timeouts)
            elif content:
                stream.send_bytes(content)
            status, response_fields = await stream.response_head(timeouts)
        except BaseException:
            stream.close()
            raise
        return httpx.Response(
            status,
            headers=response_fields,
            stream=_ResponseStream(stream, timeouts.read),
            extensions={
                "http_version": b"HTTP/2",
                "stream_id": stream.stream_id,
                "trailers": stream.trailers,
            },
        )

    def _check_open(self) -> None:
        """What was under way when the transport was closed must open nothing anew."""
        if self._closed:
            msg = "the transport was closed"
            raise httpx.ConnectError(msg)

    def _pool(self, origin: Origin) -> OriginPool:
        self._check_open()
        pool = self._pools.get(origin)
        if pool is None:
            pool = OriginPool(self._connector(origin), self._settings.max_connections)
            self._pools[origin] = pool
        return pool

    def _connector(
        self, origin: Origin
    ) -> Callable[[Callable[[Connection], None]], Coroutine[None, None, Connection]]:
        async def open_connection(on_change: Callable[[Connection], None]) -> Connection:
            context = self._alpn_context() if origin.scheme == "https" else None
            return await connect(origin, self._settings, context, on_change)

        return open_connection

    def _alpn_context(self) -> ssl.SSLContext:
        context = self._ssl_context
        if context is None:
            context = self._ssl_context = httpx.create_ssl_context(
                verify=self._verify, cert=self._cert, trust_env=self._trust_env
            )
        # Each time, as a user may share one context between transports.
        context.set_alpn_protocols(["h2", "http/1.1"] if self._http1 else ["h2"])
        return context

    async def _speak_http1(self, request: httpx.Request) -> httpx.Response:
        self._check_open()
        if self._http1_transport is None:
            self._http1_transport = httpx.AsyncHTTPTransport(
                verify=self._verify, cert=self._cert, trust_env=self._trust_env
            )
        return await self._http1_transport.handle_async_request(request)

    async def aclose(self) -> None:
        """End all connections. Exchanges in use fail with an `httpx.TransportError`.

        They end also where this is cancelled, which then does not wait until they are gone.
        """
        self._closed = True
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()
        for pool in pools.values():
            await pool.wait_closed()
        if self._http1_transport is not None:
            await self._http1_transport.aclose()

    async def __aenter__(self) -> Self:
        """Give the transport; it connects when it is used."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """End all connections."""
        await self.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    """The answer's body, as httpx reads it."""

    def __init__(self, stream: Stream, timeout: float | None) -> None:
        self._stream = stream
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._stream.next_chunk(self._timeout)) is not None:
            yield chunk

    async def aclose(self) -> None:
        self._stream.close()
