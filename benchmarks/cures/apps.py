"""The applications that are served: bare ASGI, and the same in Quart.

Both do nothing but read, hold, answer and count, so that what is measured is the stack below.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from quart import Quart, Response, request

from batchq.http2 import BODY_EXTENSION, ClientGoneError

MOST_BODY = 256 * 1024 * 1024
STEP_SECONDS = 0.4
"""Between the two steps of a piece of work."""
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Bare:
    """A bare ASGI application; the first segment of a path says what it does."""

    def __init__(self) -> None:
        """Start with nothing counted and nothing let go."""
        self.counts: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self._handlers = {
            "size": self._size,
            "large": self._large,
            "hold": self._hold,
            "release": self._release,
            "wait": self._wait,
            "idle": self._idle,
            "refuse": self._refuse,
            "steps": self._steps,
            "count": self._count,
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            return
        name, _, argument = scope["path"][1:].partition("/")
        self.counts[name] += 1
        self.counts[f"{name}-open"] += 1
        try:
            await self._handlers.get(name, self._hello)(scope, receive, send, argument)
        except ClientGoneError:
            pass
        finally:
            self.counts[f"{name}-open"] -= 1

    async def _hello(self, _scope: Any, _receive: Receive, send: Send, _argument: str) -> None:
        await answer(send, b"hello")

    async def _size(self, scope: Any, receive: Receive, send: Send, _argument: str) -> None:
        await answer(send, b"%d" % len(await body_of(scope, receive)))

    async def _large(self, _scope: Any, _receive: Receive, send: Send, argument: str) -> None:
        await answer(send, b"x" * int(argument))

    async def _hold(self, _scope: Any, _receive: Receive, send: Send, argument: str) -> None:
        try:
            async with asyncio.timeout(float(argument)):
                await self.gate.wait()
        except TimeoutError:
            pass
        await answer(send, b"held")

    async def _release(self, _scope: Any, _receive: Receive, send: Send, _argument: str) -> None:
        self.gate.set()
        self.gate = asyncio.Event()
        await answer(send)

    async def _wait(self, _scope: Any, receive: Receive, _send: Send, _argument: str) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _idle(self, _scope: Any, _receive: Receive, send: Send, argument: str) -> None:
        await asyncio.sleep(float(argument))
        await answer(send)

    async def _refuse(self, _scope: Any, _receive: Receive, send: Send, _argument: str) -> None:
        await answer(send, b"", 413)

    async def _steps(self, scope: Any, receive: Receive, send: Send, _argument: str) -> None:
        await body_of(scope, receive)
        self.counts["begun"] += 1
        await asyncio.sleep(STEP_SECONDS)
        self.counts["done"] += 1
        await answer(send)

    async def _count(self, _scope: Any, _receive: Receive, send: Send, argument: str) -> None:
        await answer(send, b"%d" % self.counts[argument])


async def body_of(scope: Any, receive: Receive) -> bytes:
    """Give the whole body: by the connection's own gathering, where there is one."""
    extension = scope.get("extensions", {}).get(BODY_EXTENSION)
    if extension is not None:
        return b"".join(await extension["gather"](MOST_BODY))
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def answer(send: Send, body: bytes = b"", status: int = 200) -> None:
    """Send a whole answer."""
    fields = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def quart_app(settings: dict[str, Any]) -> Quart:
    """Make the Quart application with some of its settings changed."""
    app = Quart(__name__, static_folder=None)
    app.config.update({"MAX_CONTENT_LENGTH": MOST_BODY, **settings})
    counts: Counter[str] = Counter()

    @app.post("/push/q")
    @app.post("/size")
    async def size() -> str:
        return str(len(await request.get_data()))

    @app.get("/large/<int:length>")
    async def large(length: int) -> Response:
        return Response(b"x" * length)

    @app.post("/steps")
    async def steps() -> str:
        await request.get_data()
        counts["begun"] += 1
        await asyncio.sleep(STEP_SECONDS)
        counts["done"] += 1
        return ""

    @app.get("/count/<name>")
    async def count(name: str) -> str:
        return str(counts[name])

    return app
