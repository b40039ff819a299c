"""The ASGI side of the short path: find the verb, run it, send its answer.

Whatever happens, the client gets an answer that says what, and the log what happened.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote

from batchq.app import problems
from batchq.app.answer import Answer, number
from batchq.app.call import DISCARD_SECONDS, Call, ClientGone, Receive, Send
from batchq.app.sites import check_site
from batchq.app.verbs import VERBS, Service, Verb
from batchq.errors import BatchqError, MethodNotAllowed, NotFound

_LOG: Final = logging.getLogger("batchq.app")

_NO_LENGTH: Final = frozenset((204, 304))
"""Statuses without a body, and so without ``Content-Length`` (RFC 9110, 8.6)."""

_AUTHORITY: Final = re.compile(rb"https?://[^/]*", re.IGNORECASE)

Application = Callable[[Any, Receive, Send], Awaitable[None]]


def with_path(scope: Any) -> Any:
    """Gives a request whose target does not begin with its path one that does.

    Such are the absolute form (RFC 9112, 3.2.2: ``GET http://host/pull/q``), which a server
    must take, and what names no route: ``*``, or no path at all.
    """
    raw = scope.get("raw_path")
    if raw is None or raw.startswith(b"/"):
        return scope
    absolute = _AUTHORITY.match(raw)
    path = b"/*" if absolute is None else raw[absolute.end() :] or b"/"
    return {**scope, "raw_path": path, "path": unquote(path.decode("latin-1"))}


def is_verb(scope: Any) -> bool:
    """Whether a request is one for this path: its first segment is a verb."""
    path: str = scope["path"]
    return path.partition("/")[2].partition("/")[0] in VERBS


async def exchange(service: Service, scope: Any, receive: Receive, send: Send) -> None:
    """Serves one request on a queue."""
    call = Call(scope, receive)
    try:
        answer = await _answer(service, call, scope)
    except ClientGone:
        return
    except BatchqError as error:
        answer = problems.problem(error)
        await respond(answer, call, send, hold=not (call.complete or call.early))
    except Exception:  # noqa: BLE001  the edge: whatever it is, the client is told and the log
        _LOG.exception("%s %s failed", call.method, scope["path"])
        answer = problems.unexpected()
        await respond(answer, call, send, hold=not (call.complete or call.early))
    else:
        await respond(answer, call, send)


async def respond(answer: Answer, call: Call, send: Send, *, hold: bool = False) -> None:
    """Sends an answer.

    Args:
        answer: what to send.
        call: what it answers.
        send: the ASGI channel.
        hold: the end of the answer is held back until the request's body has come.
    """
    headers: list[Any] = answer.headers
    if answer.status not in _NO_LENGTH:
        headers.append((b"content-length", number(len(answer.body))))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = {"type": "http.response.body", "body": answer.body, "more_body": False}
    if hold:
        await send({**body, "more_body": True})
        await call.discard()
        body["body"] = b""
    await send(body)


async def patient(app: Application, scope: Any, receive: Receive, send: Send) -> None:
    """Runs an application that may answer before the request's body is here.

    The end of such an answer is held back until the body is, within a bound of time.
    The application keeps receiving meanwhile.
    """
    complete = asyncio.Event()

    async def taking() -> Any:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            complete.set()
        return message

    async def giving(message: Any) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_SECONDS):
                    await complete.wait()
        await send(message)

    await app(scope, taking, giving)


async def _answer(service: Service, call: Call, scope: Any) -> Answer:
    verb, segment = _route(scope)
    if call.method not in verb.methods:
        raise MethodNotAllowed(
            f"{call.method} is not possible here: {verb.hint.format(queue=segment)}",
            allow=verb.methods,
        )
    check_site(call.text(b"sec-fetch-site"), call.text(b"origin"), call.text(b"host"))
    call.check()
    return await verb.handler(service, call, segment)


def _route(scope: Any) -> tuple[Verb, str]:
    """Finds the verb and the queue's segment, still percent-encoded: ``%2F`` is no slash."""
    raw: bytes | None = scope.get("raw_path")
    path = scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")
    _, name, *rest = path.split("/", 3)
    verb = VERBS.get(name)
    if verb is None or len(rest) != 1 or not rest[0]:
        first = scope["path"].split("/", 2)[1]
        raise NotFound(f"no such route: name one queue, as /{first}/<queue>")
    return verb, rest[0]
