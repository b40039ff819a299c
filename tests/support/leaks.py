"""A connection that nobody closed says whose it is.

Python warns of one when it is collected, which fails whatever test runs then: often another one,
minutes later. Its name in the warning tells which test made it, and for whom.
"""

from __future__ import annotations

import asyncio.selector_events
import os
from typing import Any


def name_transports() -> None:
    """From now on, the socket transports of asyncio's own event loop have such names."""
    transports: Any = asyncio.selector_events
    kind = transports._SelectorSocketTransport
    begin, name = kind.__init__, kind.__repr__

    def begin_named(transport: Any, *args: Any, **options: Any) -> None:
        transport.made_in = os.environ.get("PYTEST_CURRENT_TEST")
        begin(transport, *args, **options)

    def named(transport: Any) -> str:
        return f"{name(transport)} of {transport.get_protocol()!r}, made in {transport.made_in}"

    kind.__init__, kind.__repr__ = begin_named, named
