"""The verbs on a queue, ``/<verb>/<queue>``: from a call to the store and back.

This is the short path: these calls come by the thousands a second and know neither
sessions nor templates. Reading the request is the business of ``parameters`` and
``formats``, writing the answer that of ``answer``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from batchq.app import answer, parameters
from batchq.app.answer import Answer
from batchq.app.attend import attended
from batchq.app.call import Call
from batchq.app.settings import Settings
from batchq.app.turns import Turns
from batchq.errors import BadRequest, TooLarge, Unprocessable, UnsupportedMediaType
from batchq.formats import batch_from, body_of, check_type, negotiate
from batchq.model import (
    DIGEST,
    KIB,
    MAX_INTEGER,
    MIB,
    CloseRequest,
    Pulled,
    PullRequest,
    PushRequest,
)
from batchq.stores.base import Store

_CLOSE_BODY: Final = 64 * KIB
"""Bytes of the largest body of a close: it holds four short fields."""

_IGNORED_BODY: Final = 64 * KIB
"""Bytes of the largest body where none has a meaning. Its end is waited for all the same:
a request that breaks off has no effect, and an answer before its end costs Hypercorn's
HTTP/2 side the connection."""

_NAMED_BYTES: Final = MIB
"""Payload bytes of the largest batch that is given in JSON or msgpack, a single line aside:
as much as is written without a pause. A pull may always give less than was asked for."""

_CLOSE_FIELDS: Final = ("lines", "bytes", "digest", "unterminated")


@dataclass(frozen=True, slots=True)
class Service:
    """What the verbs work with.

    Attributes:
        store: holds the queues.
        settings: limits and defaults.
        waiting: the tasks of pulls that wait, or whose answer is on its way out.
        turns: where long work on bodies waits for its turn.
    """

    store: Store
    settings: Settings
    waiting: set[asyncio.Task[Any]] = field(default_factory=set)
    turns: Turns = field(default_factory=Turns)


Handler = Callable[[Service, Call, str], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Verb:
    """A call on one queue.

    Attributes:
        handler: does it, given the queue's name as it stands in the path.
        methods: that it may be asked with.
        hint: what to do in place of another method; ``{queue}`` is the name.
    """

    handler: Handler
    methods: tuple[str, ...]
    hint: str


async def _push(service: Service, call: Call, segment: str) -> Answer:
    queue = parameters.queue_name(segment)
    wait = parameters.push_wait(call.query)
    queue_id = parameters.queue_id(call.headers)
    numbering = parameters.numbering(call.headers)
    kind = call.text(b"content-type")
    check_type(kind, call.text(b"content-encoding"))
    pieces = await call.body(service.settings.max_body)
    steps = batch_from(pieces, kind)
    del pieces
    batch = await service.turns.run(steps)
    # Nobody watches for the client from here on: what is being stored is finished, and
    # a client that did not get its answer may send a numbered batch again.
    return answer.pushed(
        await service.store.push(
            PushRequest(queue, batch, numbering, queue_id, min(wait, service.settings.max_wait))
        )
    )


async def _pull(service: Service, call: Call, segment: str) -> Answer:
    queue = parameters.queue_name(segment)
    await _no_body(call)
    asked = parameters.pull_parameters(call.query)
    form = negotiate(call.joined(b"accept"))
    settings = service.settings
    request = PullRequest(
        queue=queue,
        min=asked.min,
        max=asked.max,
        max_bytes=min(asked.max_bytes, settings.max_body if form.plain else _NAMED_BYTES),
        wait=settings.default_wait if asked.wait is None else min(asked.wait, settings.max_wait),
        partial=asked.partial,
        lease=asked.lease,
        lease_id=asked.lease_id,
        ack=asked.ack,
        queue_id=parameters.queue_id(call.headers),
        utf8=form.utf8,
    )
    result = await attended(service.store.pull(request), call.gone(), service.waiting)
    body = await service.turns.run(body_of(result, form)) if isinstance(result, Pulled) else b""
    return answer.pulled(result, form, body)


async def _ack(service: Service, call: Call, segment: str) -> Answer:
    queue = parameters.queue_name(segment)
    ids = parameters.leases(call.query)
    await _no_body(call)
    return answer.done(await service.store.ack(queue, ids, parameters.queue_id(call.headers)))


async def _release(service: Service, call: Call, segment: str) -> Answer:
    queue = parameters.queue_name(segment)
    ids = parameters.leases(call.query)
    await _no_body(call)
    return answer.done(await service.store.release(queue, ids, parameters.queue_id(call.headers)))


async def _extend(service: Service, call: Call, segment: str) -> Answer:
    queue = parameters.queue_name(segment)
    ids, seconds = parameters.extension(call.query)
    await _no_body(call)
    queue_id = parameters.queue_id(call.headers)
    return answer.done(await service.store.extend(queue, ids, seconds, queue_id))


async def _close(service: Service, call: Call, segment: str) -> Answer:
    queue = parameters.queue_name(segment)
    parameters.no_parameters(call.query)
    queue_id = parameters.queue_id(call.headers)
    numbering = parameters.numbering(call.headers)
    try:
        body = b"".join(await call.body(_CLOSE_BODY))
    except TooLarge:
        raise TooLarge(
            f"the body of a close is above {_CLOSE_BODY} bytes: send lines by POST /push/{queue}"
        ) from None
    told = _told(body, call)
    return answer.closed(
        await service.store.close(
            CloseRequest(
                queue,
                lines=_count(told, "lines"),
                bytes=_count(told, "bytes"),
                digest=_digest(told),
                unterminated=_flag(told, "unterminated"),
                numbering=numbering,
                queue_id=queue_id,
            )
        )
    )


VERBS: Final[dict[str, Verb]] = {
    "push": Verb(
        _push, ("POST",), "push lines with POST /push/{queue}; to take lines, ask /pull/{queue}"
    ),
    "pull": Verb(_pull, ("GET", "POST"), "take lines with POST or GET /pull/{queue}"),
    "ack": Verb(_ack, ("POST",), "acknowledge with POST /ack/{queue}?lease=ID"),
    "release": Verb(_release, ("POST",), "release with POST /release/{queue}?lease=ID"),
    "extend": Verb(_extend, ("POST",), "extend with POST /extend/{queue}?lease=ID&seconds=S"),
    "close": Verb(_close, ("POST",), "close with POST /close/{queue}"),
}


async def _no_body(call: Call) -> None:
    """Receives a body that has no meaning."""
    try:
        await call.body(_IGNORED_BODY)
    except TooLarge:
        raise TooLarge(
            f"this call has no body, and one above {_IGNORED_BODY} bytes is refused: send none"
        ) from None


def _told(body: bytes, call: Call) -> dict[str, Any]:
    """What a close's body says: JSON, whatever it is called, as `curl -d` calls it a form."""
    encoding = call.text(b"content-encoding").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType("Content-Encoding is not taken: send the body as it is")
    if not body.strip():
        return {}
    kind = call.text(b"content-type").partition(";")[0].strip().lower()
    if kind not in ("", "application/json", "application/x-www-form-urlencoded"):
        raise UnsupportedMediaType("the body of a close is application/json, or there is none")
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise Unprocessable("the body of a close is a JSON object")
    for name in told:
        if name not in _CLOSE_FIELDS:
            raise Unprocessable(
                f"{parameters.shown(name)} is not a field of a close: "
                f"there are {', '.join(_CLOSE_FIELDS)}"
            )
    return told


def _count(told: dict[str, Any], name: str) -> int | None:
    value = told.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise Unprocessable(f"{name} must be a whole number from 0 to {MAX_INTEGER}")
    return value


def _digest(told: dict[str, Any]) -> str | None:
    value = told.get("digest")
    if value is None:
        return None
    if type(value) is not str or DIGEST.fullmatch(value) is None:
        raise Unprocessable("digest must be xxh3-128: and 32 hexadecimal digits in lower case")
    return value


def _flag(told: dict[str, Any], name: str) -> bool:
    value = told.get(name, False)
    if type(value) is not bool:
        raise Unprocessable(f"{name} must be true or false")
    return value
