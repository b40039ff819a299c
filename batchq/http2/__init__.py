"""What Hypercorn's HTTP/2 lacks, and nothing else.

    settings = Http2Settings()
    registry = install(settings)
    apply(config, settings)
    registry.on_drain(app.answer_waiting_requests)
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)

``registry.drain()`` begins the graceful end sooner than Hypercorn does.
"""

from batchq.http2.body import BodyTooLargeError, ClientGoneError
from batchq.http2.hooks import (
    IncompatibleHypercornError,
    apply,
    install,
    installed,
    uninstall,
)
from batchq.http2.intake import INTAKE_EXTENSION
from batchq.http2.registry import Registry
from batchq.http2.settings import Http2Settings
from batchq.http2.stream import BODY_EXTENSION

__all__ = [
    "BODY_EXTENSION",
    "INTAKE_EXTENSION",
    "BodyTooLargeError",
    "ClientGoneError",
    "Http2Settings",
    "IncompatibleHypercornError",
    "Registry",
    "apply",
    "install",
    "installed",
    "uninstall",
]
