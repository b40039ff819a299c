"""The server's process: one application on one stack, with cures turned on or off.

`python -m benchmarks.cures.serve PORT JSON`, the JSON being the fields of `Options`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hyperframe.frame
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart.wrappers.request import Body

import batchq.app.application
import batchq.lines
import batchq.server
from batchq.app import Settings
from batchq.cli.allocator import keep_freed_memory
from batchq.http2 import Http2Settings, apply, install
from batchq.http2.body import RequestBody
from batchq.http2.protocol import H2Protocol
from batchq.model import GIB, Limits
from batchq.stores.memory import MemoryStore
from benchmarks.cures.apps import Bare, quart_app

NO_CAP = 1_000_000_000


@dataclass(slots=True)
class Options:
    """What is served how.

    Attributes:
        app: `bare`, `quart`, or `batchq` for the whole server.
        stock: On Hypercorn's own HTTP/2.
        http2: Fields of `Http2Settings`.
        config: Attributes of Hypercorn's configuration.
        quart: Quart's settings.
        limits: Fields of `Settings`, for `batchq`.
        turned: Keys of `TURNS`: what is turned on or off beside that.
        allocator: Whether the allocator keeps freed memory.
    """

    app: str = "bare"
    stock: bool = False
    http2: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    quart: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    turned: list[str] = field(default_factory=list)
    allocator: bool = True


def _short_repr() -> None:
    """On: frames have a short text."""
    replaced: Any = hyperframe.frame.Frame
    replaced.__repr__ = lambda frame: f"<{type(frame).__name__}>"


def _through_a_reader() -> None:
    """Off: the connection reads from the transport itself."""

    async def run(
        protocol: H2Protocol, reader: asyncio.StreamReader, transport: asyncio.Transport
    ) -> None:
        protocol._transport = transport  # noqa: SLF001 - what is turned off has no other seam
        protocol.connection.sender.attach(transport)
        while data := await reader.read(2**16):
            protocol._link.feed(data)  # noqa: SLF001
        protocol.connection.lost()
        transport.abort()

    replaced: Any = H2Protocol
    replaced.run = run


def _bytes_count() -> None:
    """Off: lines are counted with numpy."""
    replaced: Any = batchq.lines
    replaced._FEW = sys.maxsize  # noqa: SLF001


def _forgets_dropped() -> None:
    """Off: the window of DATA that is dropped is given back."""
    kept = RequestBody.feed
    replaced: Any = RequestBody
    replaced.feed = lambda body, data: body.dropping or kept(body, data)


def _keeps_unwanted() -> None:
    """Off: a body that no view takes is dropped as it comes."""
    replaced: Any = batchq.app.application._Request  # noqa: SLF001
    replaced.body_class = Body


TURNS: dict[str, Callable[[], None]] = {
    "short-repr": _short_repr,
    "through-a-reader": _through_a_reader,
    "bytes-count": _bytes_count,
    "forgets-dropped": _forgets_dropped,
    "keeps-unwanted": _keeps_unwanted,
}


def main() -> None:
    """Serve until SIGTERM."""
    port = int(sys.argv[1])
    options = Options(**json.loads(sys.argv[2]))
    for name in options.turned:
        TURNS[name]()
    if options.allocator:
        keep_freed_memory()
    settings = Http2Settings(**options.http2)
    if options.app == "batchq":
        batchq.server.run(
            MemoryStore(Limits(queue_bytes=2 * GIB)),
            batchq.server.ServerSettings(
                batchq.server.Listen(port=port), Settings(**options.limits), settings
            ),
            lambda _url: None,
        )
        return
    uvloop.run(_serve(port, options, settings))


async def _serve(port: int, options: Options, settings: Http2Settings) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.backlog = 1024
    config.loglevel = "ERROR"
    if options.stock:
        config.keep_alive_max_requests = NO_CAP
    else:
        install(settings)
        apply(config, settings)
    for name, value in options.config.items():
        setattr(config, name, value)
    app: Any = Bare() if options.app == "bare" else quart_app(options.quart)
    await serve(app, config)


if __name__ == "__main__":
    main()
