"""The HTTP side: a Quart application over a store.

    app = create_app(store, Settings())

- ``exchange`` and ``verbs`` serve the calls on a queue, ``/<verb>/<queue>``: the short path,
  straight from ASGI to the store;
- ``views`` serves the rest through Quart's own routing;
- ``parameters`` reads requests, ``answer`` and ``problems`` write what goes back;
- ``call`` and ``attend`` are a request's body and the waiting on behalf of its client.

It knows no port, no flag and no signal, and which store it has only by its contract.
"""

from batchq.app.application import App, create_app
from batchq.app.settings import Settings

__all__ = ["App", "Settings", "create_app"]
