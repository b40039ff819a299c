"""Quart's limits and its ways with a body, each beside the application without the cure."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator
from typing import Any

import pytest
import quart.asgi
import quart.wrappers.request
from h2.errors import ErrorCodes
from http2.h2_support import PATIENCE, Site, both, comes, data, peer, serving, settled
from hyperframe.frame import RstStreamFrame, SettingsFrame, WindowUpdateFrame
from quart import Quart, request
from quart.wrappers.request import Body

from batchq.app import Settings, application, create_app
from batchq.http2.body import RequestBody
from batchq.model import Batch, Limits, PushRequest
from batchq.stores.base import Store
from batchq.stores.memory import MemoryStore

LIMIT = 20_000

# Seconds that Quart's timeouts of a minute are made to take, and long enough for both.
MINUTE, LONGER = 0.05, 0.15


class WatchedStore(MemoryStore):
    """A store whose pushes take until they are told to go on."""

    def __init__(self) -> None:
        super().__init__(Limits())
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def push(self, asked: PushRequest) -> Any:
        self.began.set()
        try:
            await self.go.wait()
            result = await super().push(asked)
        except asyncio.CancelledError:
            self.outcome.set_result("cancelled")
            raise
        self.outcome.set_result("stored")
        return result


@pytest.fixture
async def store() -> AsyncIterator[WatchedStore]:
    kept = WatchedStore()
    await kept.start()
    yield kept
    await kept.stop()


def stock_app(store: Store) -> Quart:
    """The push as Quart's documentation has one write it."""
    app = Quart(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LIMIT

    @app.post("/push/<queue>")
    async def push(queue: str) -> str:
        body: Any = await request.get_data()
        await store.push(PushRequest(queue, Batch(body, body.count(b"\n"))))
        return ""

    return app


def app_on(store: Store, *, cured: bool) -> Any:
    return create_app(store, Settings(max_body=LIMIT)) if cured else stock_app(store)


class FastAsyncio(types.ModuleType):
    """asyncio, but that what is given a minute gets a moment."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def wait_for(awaitable: Any, timeout: float | None) -> Any:  # noqa: ASYNC109  its name
        return await asyncio.wait_for(awaitable, None if timeout is None else MINUTE)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (quart.asgi, quart.wrappers.request):
        monkeypatch.setattr(module, "asyncio", FastAsyncio("asyncio"))


async def passes(seconds: float) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


@both
async def test_a_client_that_leaves_does_not_undo_a_push(cured: bool, store: WatchedStore) -> None:
    site = Site({"/push/q": app_on(store, cured=cured)})
    async with serving(site) as server, peer(server.port) as client:
        client.send(client.request(1, "/push/q", method="POST", end=False))
        client.send(data(1, b"line\n", end=True))
        await asyncio.wait_for(store.began.wait(), PATIENCE)
        client.send(RstStreamFrame(1, ErrorCodes.CANCEL))
        await client.handled()
        await settled(server.port)
        store.go.set()
        assert await asyncio.wait_for(store.outcome, PATIENCE) == (
            "stored" if cured else "cancelled"
        )


@both
async def test_a_body_above_the_limit_costs_its_own_request_alone(
    cured: bool, store: WatchedStore
) -> None:
    site = Site({"/push/q": app_on(store, cured=cured)})
    async with serving(site, cured=cured) as server, peer(server.port) as client:
        client.send(client.request(1, "/push/q", method="POST", end=False))
        client.send(*[data(1, b"x" * 10_000)] * 3)
        refused = asyncio.create_task(client.status(1))
        told = await comes(refused, server.port, expected=cured)
        if told:
            assert await refused == 413
            client.send(*[data(1, b"x" * 10_000)] * 3, client.request(3, "/settled"))
            beside = asyncio.create_task(client.status(3))
            answered = await comes(beside, server.port, expected=cured)
            assert (answered and beside.exception() is None) is cured
            beside.cancel()
            await asyncio.wait([beside])
        else:
            # Quart counts from 0.23 on only what it has to its end, however much that is.
            assert not cured
            client.send(*[data(1, b"x" * 10_000)] * 3, data(1, end=True))
            assert await refused == 413
        assert not store.began.is_set()


@both
async def test_a_slow_body_is_waited_for(cured: bool, store: WatchedStore, fast: None) -> None:
    store.go.set()
    site = Site({"/push/q": app_on(store, cured=cured)})
    async with serving(site) as server, peer(server.port) as client:
        client.send(client.request(1, "/push/q", method="POST", end=False), data(1, b"li"))
        await passes(LONGER)
        client.send(data(1, b"ne\n", end=True))
        assert await client.status(1) == (200 if cured else 408)


@both
async def test_a_slow_reader_gets_its_whole_answer(
    cured: bool, store: WatchedStore, fast: None
) -> None:
    """Quart gives an answer up without a word, when its time is over."""
    store.go.set()
    names = [f"{number}-" + "n" * 100 for number in range(1500)]
    for name in names:
        await MemoryStore.push(store, PushRequest(name, Batch(b"a\n", 1)))
    app: Any = create_app(store)
    if not cured:
        app.config["RESPONSE_TIMEOUT"] = Quart.default_config["RESPONSE_TIMEOUT"]
    async with (
        serving(Site({"/queues": app})) as server,
        peer(server.port, {SettingsFrame.INITIAL_WINDOW_SIZE: 1000}) as client,
    ):
        client.send(client.request(1, "/queues"))
        assert await client.status(1) == 200
        await passes(LONGER)
        client.send(WindowUpdateFrame(0, 2**24), WindowUpdateFrame(1, 2**24))
        told = asyncio.create_task(client.body(1))
        # Without the cure it is reset or, from Quart 0.23 on, left without an end.
        assert await comes(told, server.port, expected=cured) is cured
        if cured:
            page = await told
            assert all(name.encode() in page for name in names)
        told.cancel()
        await asyncio.wait([told])


@both
async def test_a_body_is_handed_over_in_the_pieces_that_came(cured: bool) -> None:
    class Source:
        def give_back(self, size: int) -> None: ...
        def open_window(self, size: int) -> None: ...
        def load(self, rest: int, grow: Any) -> Any: ...
        def wanted(self) -> None: ...

    came = bytes(100_000)
    got: Any
    if cured:
        gathered = RequestBody(2**20, -1, Source(), done=False)
        gathered.feed(came)
        gathered.finish()
        (got,) = await gathered.gather(2**20)
    else:
        collected = Body(None, None)
        collected.set_result(came)
        got = await collected
    assert got == came
    assert (got is came) is cured


@both
async def test_a_body_that_nobody_wants_is_kept_by_nobody(
    cured: bool, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    app: Any = create_app(store)
    if not cured:
        monkeypatch.setattr(application._Request, "body_class", Body)
    kept = []

    async def look() -> None:
        kept.append(len(await request.body))

    app.before_request(look)
    async with serving(Site({"/queues/q": app})) as server, peer(server.port) as client:
        client.send(client.request(1, "/queues/q", method="DELETE", end=False))
        client.send(*[data(1, b"x" * 10_000)] * 3, data(1, end=True))
        assert await client.status(1) in (204, 404)
    assert kept == ([0] if cured else [30_000])
