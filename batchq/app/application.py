"""The Quart application: which path a request takes, and what Quart is to leave out."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from quart import Quart, Response, request
from quart.sessions import NullSession, SecureCookieSessionInterface
from quart.wrappers import Request
from quart.wrappers.request import Body
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as QuartMethodNotAllowed
from werkzeug.routing import MapAdapter

from batchq import errors
from batchq.app import problems
from batchq.app.exchange import exchange, is_verb, patient, with_path
from batchq.app.settings import Settings
from batchq.app.sites import check_site
from batchq.app.verbs import Service
from batchq.app.views import EXTENSION, VIEWS, response
from batchq.stores.base import Store

_LOG: Final = logging.getLogger("batchq.app")

_SAFE: Final = frozenset(("GET", "HEAD"))


class _NoBody(Body):
    """The body of a request to a view: none takes one, so that it is dropped as it comes.

    Quart gives it what came by the one method up to 0.22, by the other from 0.23 on.
    """

    def append(self, data: bytes) -> None:
        """Drops the data."""

    async def put(self, data: bytes) -> None:
        """Drops the data."""


class _Request(Request):
    body_class = _NoBody


class _NoSessions(SecureCookieSessionInterface):
    """No cookies: who may do what is told by a token, each time."""

    async def open_session(self, app: Quart, request: Any) -> NullSession:  # noqa: ARG002
        return NullSession()

    async def save_session(self, app: Quart, session: Any, response: Any) -> None:
        """Nothing to save."""


class App(Quart):
    """The application. Calls on a queue go past Quart's routing, contexts and sessions."""

    request_class = _Request
    session_interface = _NoSessions()

    def __init__(self, service: Service) -> None:
        super().__init__(__name__, static_folder=None)
        self.service = service
        self.extensions[EXTENSION] = service
        # How long a slow client may take, and when it is given up, is the connection's
        # business: an answer that is abandoned here would leave it hanging.
        self.config["RESPONSE_TIMEOUT"] = None
        self.config["BODY_TIMEOUT"] = None
        # The views take no body, the verbs count theirs.
        self.config["MAX_CONTENT_LENGTH"] = None
        self.config["PROPAGATE_EXCEPTIONS"] = False
        self.url_map.strict_slashes = False
        self.url_map.merge_slashes = False
        self.before_request(_check_site)
        self.register_blueprint(VIEWS)
        self.register_error_handler(errors.BatchqError, _batchq_error)
        self.register_error_handler(HTTPException, _http_error)
        self.register_error_handler(Exception, _unexpected)

    async def answer_waiting(self, seconds: float) -> None:
        """Waits until the pulls that a drained store gave up are answered, or time is over."""
        if self.service.waiting:
            await asyncio.wait(self.service.waiting, timeout=seconds)

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        """Routes by method and path alone: what a client says of the host decides nothing."""
        if request is None:
            return super().create_url_adapter(request)
        return self.url_map.bind(
            "batchq",
            url_scheme=request.scheme,
            default_method=request.method,
            path_info=request.path,
        )

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one ASGI scope."""
        if scope["type"] != "http":
            await super().asgi_app(scope, receive, send)
            return
        scope = with_path(scope)
        if is_verb(scope):
            await exchange(self.service, scope, receive, send)
        else:
            await patient(super().asgi_app, scope, receive, send)


def create_app(store: Store, settings: Settings | None = None) -> App:
    """Makes the application.

    Args:
        store: holds the queues; the caller starts and stops it.
        settings: limits and defaults; those of ``Settings`` when left out.
    """
    return App(Service(store, settings or Settings()))


async def _check_site() -> None:
    if request.method not in _SAFE:
        headers = request.headers
        check_site(
            headers.get("Sec-Fetch-Site", ""), headers.get("Origin", ""), headers.get("Host", "")
        )


async def _batchq_error(error: errors.BatchqError) -> Response:
    return response(problems.problem(error))


async def _http_error(error: HTTPException) -> Response:
    """Answers what Quart's routing refuses."""
    if isinstance(error, QuartMethodNotAllowed):
        allow = tuple(sorted(error.valid_methods or ()))
        detail = f"{request.method} is not possible here: use {' or '.join(allow)}"
        return response(problems.problem(errors.MethodNotAllowed(detail, allow=allow)))
    return response(problems.refused(error.code or 500))


async def _unexpected(_: Exception) -> Response:
    _LOG.exception("%s %s failed", request.method, request.path)
    return response(problems.unexpected())
