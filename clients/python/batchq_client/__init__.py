r"""A client for batchq: batches over HTTP/2, on httpx.

    async with Client("http://localhost:8080") as client:
        await client.push("greetings", b"hello\nworld\n")
        batch = await client.pull("greetings", minimum=2, wait=10)

``Client`` is the server's calls as typed methods, ``errors`` what they raise, ``model`` what
they give. ``copy`` is the engine of ``batchq copy``, and ``transport`` the HTTP/2 below,
usable with any httpx client.
"""

from batchq_client.client import Client
from batchq_client.errors import ClientError, NetworkFault, Refused
from batchq_client.model import (
    End,
    Health,
    Nothing,
    Numbering,
    ProducerState,
    Pulled,
    Pushed,
    QueueStats,
)
from batchq_client.session import open_http

__all__ = [
    "Client",
    "ClientError",
    "End",
    "Health",
    "NetworkFault",
    "Nothing",
    "Numbering",
    "ProducerState",
    "Pulled",
    "Pushed",
    "QueueStats",
    "Refused",
    "open_http",
]
