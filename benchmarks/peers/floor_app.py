"""The floor: the same work with nothing tuned, on plain Quart; also a bare ASGI hello.

Each app is served by plain Hypercorn as its documentation says. The queue is a list of
payloads, the rules are none: what is measured is the stock stack and not a design.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, request

NO_CAP = 1_000_000_000


def floor() -> Quart:
    """Make an app that stores each pushed body and hands out whole bodies."""
    app = Quart(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024 * 1024
    queues: defaultdict[str, deque[bytes]] = defaultdict(deque)
    arrived = asyncio.Condition()

    @app.post("/push/<queue>")
    async def push(queue: str) -> Response:
        body: bytes = await request.body
        lines = body.count(b"\n")
        async with arrived:
            queues[queue].append(body)
            arrived.notify_all()
        return Response(b"", headers={"Batch-Lines": str(lines)})

    @app.route("/pull/<queue>", methods=["GET", "POST"])
    async def pull(queue: str) -> Response:
        wait = float(request.args.get("wait", "5"))
        try:
            async with arrived, asyncio.timeout(wait):
                await arrived.wait_for(lambda: bool(queues[queue]))
                body = queues[queue].popleft()
        except TimeoutError:
            return Response(b"", status=204)
        return Response(body, headers={"Batch-Lines": str(body.count(b"\n"))})

    return app


Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


async def hello(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer every request with the same few bytes, after its body; a bare ASGI app."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def main() -> None:
    """Serve `floor` or `hello` on a port of loopback."""
    which, port = sys.argv[1:]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    if which == "floor":
        asyncio.run(serve(floor(), config))
        return
    # The one setting that a request rate needs: at its default of 1,000 the connection
    # would be closed in the middle of a measurement. uvloop, as batchq's server has it.
    config.keep_alive_max_requests = NO_CAP
    app: Any = hello
    uvloop.run(serve(app, config))


if __name__ == "__main__":
    main()
