"""What goes back: a status, headers and a body, and how the store's answers become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from batchq.formats import Form
from batchq.model import End, Nothing, ProducerState, PullAnswer, Pulled, Pushed

Header = tuple[bytes, bytes]

NO_STORE: Final[Header] = (b"cache-control", b"no-store")

_CONTENT_TYPE: Final = {form: (b"content-type", form.value.encode()) for form in Form}
_JSON: Final[Header] = (b"content-type", b"application/json")


@dataclass(slots=True)
class Answer:
    """An HTTP answer; names of headers are lower case. Its length is told when it is sent."""

    status: int
    headers: list[Header]
    body: bytes = b""


def number(value: int) -> bytes:
    """Writes an integer for a header."""
    return b"%d" % value


def seconds(value: float) -> bytes:
    """Writes seconds for a header: without a fraction where there is none."""
    return (str(int(value)) if value == int(value) else repr(value)).encode()


def pushed(result: Pushed) -> Answer:
    """Answers a push: 200, or 204 when the batch had been stored before."""
    headers = [(b"queue-id", result.queue_id.encode())]
    if result.producer is not None:
        headers += _producer(result.producer)
    if result.duplicate:
        return Answer(204, headers)
    headers.append((b"batch-offset", number(result.offset)))
    headers.append((b"batch-position", number(result.position)))
    headers.append((b"batch-lines", number(result.lines)))
    return Answer(200, headers)


def pulled(result: PullAnswer, form: Form, body: bytes) -> Answer:
    """Answers a pull: 200 with lines, 204 for nothing now, or 204 that tells the end.

    Args:
        result: what the store gave.
        form: what the lines are given in.
        body: the lines in that form, where there are any.
    """
    headers = [NO_STORE]
    if result.queue_id is not None:
        headers.append((b"queue-id", result.queue_id.encode()))
    if result.lost:
        headers.append((b"lease-lost", ", ".join(result.lost).encode()))
    match result:
        case Pulled():
            headers += _batch(result)
            headers.append(_CONTENT_TYPE[form])
            return Answer(200, headers, body)
        case End():
            return Answer(204, headers + _end(result))
        case Nothing():
            return Answer(204, headers)


def closed(result: End) -> Answer:
    """Answers a close with the queue's totals."""
    headers = [(b"queue-id", result.queue_id.encode()), *_end(result)]
    if result.producer is not None:
        headers += _producer(result.producer)
    return Answer(200, headers)


def done(queue_id: str) -> Answer:
    """Answers what has nothing to tell but the life that it was done in."""
    return Answer(204, [(b"queue-id", queue_id.encode())])


def document(value: Any, queue_id: str | None = None) -> Answer:
    r"""Answers JSON in one line that ends in ``\n``; dataclasses are maps of their fields."""
    headers = [_JSON, NO_STORE]
    if queue_id is not None:
        headers.append((b"queue-id", queue_id.encode()))
    return Answer(200, headers, orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def _batch(result: Pulled) -> list[Header]:
    headers = [
        (b"batch-offset", number(result.offset)),
        (b"batch-position", number(result.position)),
        (b"batch-lines", number(result.lines)),
        (b"queue-ready", number(result.ready)),
        (b"batch-deliveries", number(result.deliveries)),
    ]
    if result.lease is not None:
        headers.append((b"batch-lease", result.lease.id.encode()))
        headers.append((b"batch-lease-seconds", seconds(result.lease.seconds)))
    return headers


def _end(result: End) -> list[Header]:
    headers = [
        (b"queue-closed", b"true"),
        (b"queue-lines", number(result.lines)),
        (b"queue-bytes", number(result.bytes)),
    ]
    if result.digest is not None:
        headers.append((b"queue-digest", result.digest.encode()))
    if result.unterminated:
        headers.append((b"queue-unterminated", b"true"))
    return headers


def _producer(state: ProducerState) -> list[Header]:
    return [
        (b"producer-epoch", number(state.epoch)),
        (b"producer-seq", number(state.seq)),
        (b"producer-lines", number(state.lines)),
        (b"producer-bytes", number(state.bytes)),
    ]
