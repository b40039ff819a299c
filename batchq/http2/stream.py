"""One request and its answer, as an ASGI application sees them.

Beyond ASGI, ``scope["extensions"]["batchq.body"]["gather"]`` is ``RequestBody.gather``:
it hands over the whole body with one wake-up, for applications that want nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes

from batchq.http2 import frames
from batchq.http2.body import RequestBody
from batchq.http2.headers import Header, RequestHead, encode_fields, encode_status
from batchq.http2.inflight import Load
from batchq.http2.sender import SendBuffer

if TYPE_CHECKING:
    from batchq.http2.connection import Connection

BODY_EXTENSION = "batchq.body"

_ASGI = {"spec_version": "2.3", "version": "3.0"}
_NO_BODY = frozenset((204, 205, 304))
_CONTINUE = encode_status(100)


Refusal = Callable[[int], tuple[list[Header], bytes]]
"""Gives the fields and the body of an answer of a status; ``Content-Length`` is added."""


def bare(_status: int) -> tuple[list[Header], bytes]:
    """Answer with the status alone."""
    return [], b""


class UnexpectedMessageError(RuntimeError):
    """The application sent a message that does not fit the state of its answer."""


class Stream:
    """A stream that a client opened.

    Args:
        connection: what it belongs to.
        stream_id: its number.
        head: the request.
        ended: the request has no body.
    """

    __slots__ = (
        "_connection",
        "_headers",
        "_started",
        "_status",
        "_waits_for_100",
        "body",
        "buffer",
        "head",
        "id",
        "over",
    )

    def __init__(
        self, connection: Connection, stream_id: int, head: RequestHead, *, ended: bool
    ) -> None:
        self._connection = connection
        self.id = stream_id
        self.head = head
        length = -1 if ended else head.content_length
        self.body = RequestBody(connection.settings.stream_window, length, self, done=ended)
        self._waits_for_100 = head.expect_continue and not ended
        self.buffer = SendBuffer(stream_id, connection.sender.initial_window, self._sent)
        self.over = False  # the answer is out, or nobody waits for it
        self._status = 0  # of the answer, once the application has given it
        self._headers: bytes | None = None  # encoded, until they are sent
        self._started = time()

    # --- the connection's side ---------------------------------------------------

    def abort(self) -> None:
        """The stream is over, whatever is missing."""
        self.over = True
        self.buffer.clear()
        self.body.abort()

    def refuse(self, status: int) -> None:
        """Answer without asking the application."""
        fields, body = self._connection.refusal(status)
        self._status = status
        self._headers = encode_fields([*fields, (b"content-length", b"%d" % len(body))])
        self._send_body(body, more=False)

    def _sent(self) -> None:
        self.over = True
        self._connection.answered(self)

    # --- the body's source ---------------------------------------------------------

    def give_back(self, size: int) -> None:
        """Let the client send ``size`` more bytes on the connection."""
        self._connection.give_back(size)

    def open_window(self, size: int) -> None:
        """Let the client send ``size`` more bytes on the stream."""
        self._connection.sender.write(frames.window_update(self.id, size))

    def load(self, rest: int, grow: Callable[[], None]) -> Load:
        """Count the body among all that are not complete; too much of them refuses it."""
        connection = self._connection
        return connection.inflight.open(connection.pool, rest, grow, self._refuse_body)

    def _refuse_body(self) -> None:
        # Nothing is done for a request whose body never was complete.
        self._connection.reset(self, ErrorCodes.REFUSED_STREAM, blame=False)

    def wanted(self) -> None:
        """Tell a client that asked (``Expect``) that its body is wanted."""
        if self._waits_for_100:
            self._waits_for_100 = False
            if self._status == 0 or self._headers is not None:
                self._connection.send_headers(self.id, _CONTINUE, 0)

    # --- the application's side --------------------------------------------------

    async def run(self) -> None:
        """Run the application on this request."""
        connection = self._connection
        scope: Any = self._scope()
        try:
            await connection.call_app(scope, self.receive, self.send)
        except Exception:  # noqa: BLE001  the edge: whatever it is, it is this request's only
            await connection.config.log.exception("Error in ASGI Framework")
        finally:
            self._handler_done()
        if connection.logs_access:
            answer: Any = {"status": self._status, "headers": []} if self._status else None
            await connection.config.log.access(scope, answer, time() - self._started)

    def _scope(self) -> dict[str, Any]:
        head, connection = self.head, self._connection
        return {
            "type": "http",
            "http_version": "2",
            "asgi": _ASGI,
            "method": head.method,
            "scheme": connection.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": connection.config.root_path,
            "headers": head.fields.copy(),
            "client": connection.client,
            "server": connection.server,
            "state": connection.state.copy(),
            "extensions": {BODY_EXTENSION: {"gather": self.body.gather}},
        }

    async def receive(self) -> dict[str, Any]:
        """Return the next ASGI message for the application."""
        got = await self.body.receive()
        if got is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": got[0], "more_body": got[1]}

    async def send(self, message: dict[str, Any]) -> None:
        """Take an ASGI message from the application, waiting while too much is unsent.

        Raises:
            UnexpectedMessageError: it does not fit the state.
        """
        kind = message["type"]
        if kind == "http.response.body":
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
            limit = self._connection.settings.stream_send_buffer
            if self.buffer.size > limit:
                await self.buffer.room(limit)
        elif kind == "http.response.start" and not self._status:
            fields: list[Header] = message.get("headers", ())
            self._headers = encode_fields(fields)
            self._status = int(message["status"])
        else:
            raise UnexpectedMessageError(f"{kind} does not fit here")

    def _send_body(self, data: bytes | bytearray | memoryview, *, more: bool) -> None:
        if not self._status:
            raise UnexpectedMessageError("a body before the start of the answer")
        if self.over:
            return
        if self.buffer.ended:
            raise UnexpectedMessageError("a body after its end")
        if self.head.method == "HEAD" or self._status in _NO_BODY:
            data = b""
        connection, buffer = self._connection, self.buffer
        sender = connection.sender
        if self._headers is not None:
            block = encode_status(self._status) + self._headers + connection.common_fields()
            self._headers = None
            if not more and not data:
                connection.send_headers(self.id, block, frames.END_STREAM)
                self._sent()
                return
            if not more and sender.fits(buffer, len(data)):
                head = connection.headers_frame(self.id, block, 0)
                sender.write_answer(buffer, head, bytes(data))
                return
            connection.send_headers(self.id, block, 0)
        if data or not more:
            # A bytearray may change once the application goes on.
            view = memoryview(bytes(data) if isinstance(data, bytearray) else data).cast("B")
            sender.push(buffer, view, end=not more)

    def _handler_done(self) -> None:
        connection = self._connection
        connection.handlers -= 1
        if self.over or self.buffer.ended:
            return
        if self._status == 0:
            self.refuse(500)
        else:
            connection.reset(self, ErrorCodes.INTERNAL_ERROR, blame=False)
