"""The routes beside the verbs, as a Quart blueprint: statistics, deletion, health.

These are asked by people and monitors. Further routes of their kind (metrics, the API's
description, the page at ``/``) belong here as well.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Final

from quart import Blueprint, Response, current_app, request

from batchq.app import answer, parameters
from batchq.app.answer import Answer
from batchq.app.verbs import Service
from batchq.errors import BadRequest, StoreUnavailable

VIEWS: Final = Blueprint("views", __name__)

_PRODUCER: Final = frozenset(("producer",))

EXTENSION: Final = "batchq"
"""Where the application keeps its ``Service`` (``Quart.extensions``)."""


def response(result: Answer) -> Response:
    """Makes Quart's response of an answer."""
    made = Response(result.body, status=result.status)
    made.headers.clear()
    for name, value in result.headers:
        made.headers.add(name.decode().title(), value.decode("latin-1"))
    if result.status != 204:
        made.content_length = len(result.body)
    return made


@VIEWS.get("/queues", provide_automatic_options=False)
async def queues() -> Response:
    """All queues, by name."""
    parameters.no_parameters(request.query_string)
    return response(answer.document({"queues": await _service().store.queues()}))


@VIEWS.get("/queues/<path:segment>", provide_automatic_options=False)
async def queue(segment: str) -> Response:
    """One queue, and what it has of one producer where that is asked for."""
    name = parameters.queue_name(segment)
    wanted = parameters.one(parameters.parse_query(request.query_string, _PRODUCER), "producer")
    queue_id = _queue_id()
    store = _service().store
    stats = await store.stats(name, queue_id)
    told = asdict(stats)
    if wanted is not None:
        state = await store.producer(name, parameters.producer_id(wanted), queue_id)
        told["producer"] = None if state is None else {"id": wanted, **asdict(state)}
    return response(answer.document(told, stats.queue_id))


@VIEWS.delete("/queues/<path:segment>", provide_automatic_options=False)
async def delete(segment: str) -> Response:
    """Ends a queue's life with all it holds."""
    name = parameters.queue_name(segment)
    parameters.no_parameters(request.query_string)
    return response(answer.done(await _service().store.delete(name, _queue_id())))


@VIEWS.get("/healthz", provide_automatic_options=False)
async def healthz() -> Response:
    """Liveness, what the store promises, and the limits that a client plans with.

    Red once the store has failed: it has stopped for good, and only a restart helps.
    """
    parameters.no_parameters(request.query_string)
    _check_store()
    service = _service()
    promise = service.store.promise
    return response(
        answer.document(
            {
                "status": "ok",
                "version": version("batchq"),
                "level": promise.level,
                "promise": promise.text,
                "max_wait": service.settings.max_wait,
                "max_body": service.settings.max_body,
                "max_queue_bytes": service.store.queue_bytes,
            }
        )
    )


@VIEWS.get("/readyz", provide_automatic_options=False)
async def readyz() -> Response:
    """Readiness: whether the store can serve."""
    parameters.no_parameters(request.query_string)
    _check_store()
    return response(answer.document({"status": "ready"}))


def _check_store() -> None:
    failure = _service().store.failure()
    if failure is not None:
        raise StoreUnavailable(failure)


def _service() -> Service:
    service = current_app.extensions[EXTENSION]
    if not isinstance(service, Service):
        raise TypeError("the application was not made by create_app()")
    return service


def _queue_id() -> str | None:
    values = request.headers.getlist("Queue-Id")
    if len(values) > 1:
        raise BadRequest("Queue-Id is given twice: give it once")
    return parameters.queue_id({b"queue-id": values[0].encode("latin-1")} if values else {})
