"""Reads successful answers: headers and JSON into ``batchq_client.model``.

Every function raises KeyError, ValueError or TypeError on an answer that is not as the
protocol says; the client makes one error of them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import httpx
import orjson

from batchq_client.errors import lost_leases
from batchq_client.model import (
    End,
    Health,
    Nothing,
    ProducerState,
    Pulled,
    Pushed,
    QueueStats,
)

_STATS: Final = frozenset(field.name for field in fields(QueueStats))


def pushed(response: httpx.Response) -> Pushed:
    """Reads the answer to a push."""
    headers = response.headers
    if response.status_code == 204:
        return Pushed(headers["queue-id"], True, 0, 0, 0, _producer(headers))
    return Pushed(
        queue_id=headers["queue-id"],
        duplicate=False,
        offset=int(headers["batch-offset"]),
        position=int(headers["batch-position"]),
        lines=int(headers["batch-lines"]),
        producer=_producer(headers),
    )


def pulled(response: httpx.Response) -> Pulled | Nothing | End:
    """Reads the answer to a pull."""
    headers = response.headers
    lost = lost_leases(response)
    if response.status_code == 204:
        if headers.get("queue-closed") == "true":
            return _end(headers, lost)
        return Nothing(headers.get("queue-id"), lost)
    lease_seconds = headers.get("batch-lease-seconds")
    return Pulled(
        queue_id=headers["queue-id"],
        offset=int(headers["batch-offset"]),
        position=int(headers["batch-position"]),
        lines=int(headers["batch-lines"]),
        data=response.content,
        ready=int(headers["queue-ready"]),
        deliveries=int(headers["batch-deliveries"]),
        lease=headers.get("batch-lease"),
        lease_seconds=None if lease_seconds is None else float(lease_seconds),
        lost=lost,
    )


def closed(response: httpx.Response) -> End:
    """Reads the answer to a close."""
    return _end(response.headers, ())


def queues(response: httpx.Response) -> list[QueueStats]:
    """Reads the list of all queues."""
    return [_stats(told) for told in _object(response)["queues"]]


def queue(response: httpx.Response) -> QueueStats:
    """Reads one queue's statistics."""
    return _stats(_object(response))


def producer(response: httpx.Response) -> ProducerState | None:
    """Reads a producer's state out of a queue's statistics."""
    told = _object(response)["producer"]
    if told is None:
        return None
    return ProducerState(
        int(told["epoch"]), int(told["seq"]), int(told["lines"]), int(told["bytes"])
    )


def health(response: httpx.Response) -> Health:
    """Reads the server's health."""
    told = _object(response)
    return Health(
        status=str(told["status"]),
        version=str(told["version"]),
        level=str(told["level"]),
        promise=str(told["promise"]),
        max_body=_limit(told, "max_body"),
        max_queue_bytes=_limit(told, "max_queue_bytes"),
        max_wait=_seconds(told, "max_wait"),
        fields=told,
    )


def _limit(told: dict[str, Any], name: str) -> int | None:
    """A limit in bytes; None where it is not told, or is none that can be."""
    limit = told.get(name)
    return limit if type(limit) is int and limit > 0 else None


def _seconds(told: dict[str, Any], name: str) -> float | None:
    """A limit in seconds; None where it is not told, or is none that can be."""
    limit = told.get(name)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or limit < 0:
        return None
    return float(limit)


def _object(response: httpx.Response) -> dict[str, Any]:
    told = orjson.loads(response.content)
    if not isinstance(told, dict):
        raise TypeError("a JSON object")
    return told


def _stats(told: dict[str, Any]) -> QueueStats:
    # What a newer server says beyond this is left out.
    return QueueStats(**{name: value for name, value in told.items() if name in _STATS})


def _end(headers: httpx.Headers, lost: tuple[str, ...]) -> End:
    return End(
        queue_id=headers["queue-id"],
        lines=int(headers["queue-lines"]),
        bytes=int(headers["queue-bytes"]),
        digest=headers.get("queue-digest"),
        unterminated=headers.get("queue-unterminated") == "true",
        producer=_producer(headers),
        lost=lost,
    )


def _producer(headers: httpx.Headers) -> ProducerState | None:
    if "producer-seq" not in headers:
        return None
    return ProducerState(
        epoch=int(headers["producer-epoch"]),
        seq=int(headers["producer-seq"]),
        lines=int(headers["producer-lines"]),
        bytes=int(headers["producer-bytes"]),
    )
