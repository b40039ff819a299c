"""A small ASGI application that the real servers run in the tests."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    handler = _HANDLERS.get(scope["path"].split("/")[1], _hello)
    await handler(scope, receive, send)


async def _respond(
    send: Send, body: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    fields = [(b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _hello(scope: Message, receive: Receive, send: Send) -> None:
    await _respond(send, b"hello " + scope["http_version"].encode())


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _echo(scope: Message, receive: Receive, send: Send) -> None:
    await _respond(send, await _body(receive))


async def _stream(scope: Message, receive: Receive, send: Send) -> None:
    count = int(scope["path"].split("/")[2])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(count):
        await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
    await send({"type": "http.response.body"})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _endless(scope: Message, receive: Receive, send: Send) -> None:
    gone = asyncio.create_task(_disconnected(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"line\n" * 1000, "more_body": True})
        await asyncio.sleep(0)
    _left.append(scope["path"])


async def _told(scope: Message, receive: Receive, send: Send) -> None:
    await _respond(send, b"%d" % len(_left))


async def _redirect(scope: Message, receive: Receive, send: Send) -> None:
    left = int(scope["path"].split("/")[2])
    target = b"/redirect/%d" % (left - 1) if left > 1 else b"/hello"
    await _respond(send, b"", 302, ((b"location", target),))


async def _again(scope: Message, receive: Receive, send: Send) -> None:
    await _body(receive)  # Hypercorn loses the connection when what was answered still comes
    await _respond(send, b"", 307, ((b"location", b"/echo"),))


async def _cookie(scope: Message, receive: Receive, send: Send) -> None:
    got = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    await _respond(send, got, headers=((b"set-cookie", b"seen=1"),))


async def _wait(scope: Message, receive: Receive, send: Send) -> None:
    gone = asyncio.create_task(_disconnected(receive))
    done, _ = await asyncio.wait([gone], timeout=float(scope["path"].split("/")[2]))
    gone.cancel()
    if done:
        return
    await _respond(send, b"waited")


_left: list[str] = []  # the endless answers whose clients were seen to leave

_HANDLERS = {
    "endless": _endless,
    "told": _told,
    "echo": _echo,
    "stream": _stream,
    "redirect": _redirect,
    "again": _again,
    "cookie": _cookie,
    "wait": _wait,
}
