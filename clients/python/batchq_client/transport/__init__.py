"""HTTP/2 for httpx: many requests at once over few connections.

`httpx.AsyncClient(transport=MultiplexTransport())` is all that is needed.
"""

from .errors import (
    ClosedBeforeSettings,
    HTTP2NotSupported,
    StreamAboveGoaway,
    StreamRefused,
    UnprocessedRequest,
    safe_to_resend,
)
from .settings import TransportSettings
from .transport import AT_ONCE_EXTENSION, ROLE_EXTENSION, MultiplexTransport

__all__ = [
    "AT_ONCE_EXTENSION",
    "ROLE_EXTENSION",
    "ClosedBeforeSettings",
    "HTTP2NotSupported",
    "MultiplexTransport",
    "StreamAboveGoaway",
    "StreamRefused",
    "TransportSettings",
    "UnprocessedRequest",
    "safe_to_resend",
]
