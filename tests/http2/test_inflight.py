"""Bodies that are not complete: what they hold together, who goes first, who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from h2.errors import ErrorCodes
from http2.h2_support import (
    PATIENCE,
    Peer,
    Server,
    Site,
    answer,
    data,
    on_and_off,
    peer,
    serving,
    settled,
)
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)
from support.servers import ServerProcess

import batchq.cli.server
import batchq.server
from batchq.app import Settings, create_app
from batchq.http2 import BODY_EXTENSION, ClientGoneError, Http2Settings
from batchq.http2.inflight import InFlight
from batchq.stores.memory import MemoryStore
from batchq_client import Client

KIB = 1024
WINDOW = 16 * KIB
SIZE = 100_000
MANY = range(1, 25, 2)
LIMIT = 1024 * KIB
SMALL = Http2Settings(inflight_bytes=LIMIT, stream_window=WINDOW)
UNBOUNDED = Http2Settings(inflight_bytes=2**30, stream_window=WINDOW)


async def gathering(scope: Any, _receive: Any, send: Any) -> None:
    try:
        pieces = await scope["extensions"][BODY_EXTENSION]["gather"](SIZE)
    except ClientGoneError:
        return
    await answer(send, b"%d" % sum(map(len, pieces)))


SITE = Site({"/gather": gathering})


class Uploads:
    """Bodies that a client sends as fast as windows allow, but for the last byte of each."""

    def __init__(self, client: Peer) -> None:
        self.client = client
        self.window = SMALL.connection_window
        self.windows: dict[int, int] = {}
        self.left: dict[int, int] = {}
        self.sent = 0
        self.paused: set[int] = set()
        self.finished: list[int] = []
        self.refused: list[int] = []

    def begin(self, *stream_ids: int, size: int = SIZE) -> None:
        for stream_id in stream_ids:
            self.windows[stream_id] = WINDOW
            self.left[stream_id] = size - 1
            request = self.client.request(stream_id, "/gather", method="POST", end=False)
            self.client.send(request)
            self._send(stream_id)

    def _send(self, stream_id: int) -> None:
        if stream_id in self.paused or stream_id not in self.left:
            return
        size = min(self.windows[stream_id], self.left[stream_id], self.window)
        self.windows[stream_id] -= size
        self.left[stream_id] -= size
        self.window -= size
        self.sent += size
        for start in range(0, size, 16 * KIB):
            self.client.send(data(stream_id, bytes(min(16 * KIB, size - start))))

    def resume(self, stream_id: int) -> None:
        self.paused.discard(stream_id)
        self._send(stream_id)

    async def step(self) -> Any:
        """Take a frame."""
        frame = await self.client.next()
        assert frame is not None
        assert not isinstance(frame, GoAwayFrame), frame
        stream_id = frame.stream_id
        if isinstance(frame, WindowUpdateFrame) and not stream_id:
            self.window += frame.window_increment
            for waiting in tuple(self.left):
                self._send(waiting)
        elif isinstance(frame, WindowUpdateFrame) and stream_id in self.windows:
            self.windows[stream_id] += frame.window_increment
            self._send(stream_id)
        elif isinstance(frame, RstStreamFrame):
            assert ErrorCodes(frame.error_code) == ErrorCodes.REFUSED_STREAM
            self.refused.append(stream_id)
            del self.left[stream_id]
        elif isinstance(frame, HeadersFrame):
            assert frame.fields[":status"] == "200"  # type: ignore[attr-defined]
        elif isinstance(frame, DataFrame) and frame.data != b"hello":
            self.finished.append(stream_id)
            assert int(frame.data) == SIZE
        return frame

    async def standstill(self, server: Server) -> None:
        """Return once nothing moves by itself any more."""
        moved = -1
        while moved != self.sent:
            moved = self.sent
            await settled(server.port)
            self.client.send(PingFrame(0, b"in order"))
            while not isinstance(await self.step(), PingFrame):
                pass

    async def complete(self) -> None:
        """Send the last byte of each body that has come so far, until all are answered."""
        while self.left or len(self.finished) < len(self.windows) - len(self.refused):
            for stream_id, left in tuple(self.left.items()):
                if not left and self.windows[stream_id] and stream_id not in self.paused:
                    del self.left[stream_id]
                    self.client.send(data(stream_id, b"x", end=True))
            await self.step()


def held(server: Server) -> int:
    assert server.registry is not None
    return server.registry.inflight.whole.held


@on_and_off
async def test_bodies_that_are_not_complete_stay_within_the_budget(cured: bool) -> None:
    settings = SMALL if cured else UNBOUNDED
    async with serving(SITE, settings=settings) as server, peer(server.port) as client:
        uploads = Uploads(client)
        uploads.begin(*MANY)
        await uploads.standstill(server)
        if cured:
            assert LIMIT // 8 < uploads.sent <= LIMIT // 2
            assert 0 in uploads.left.values()  # some have come all the same
        else:
            assert uploads.sent == len(MANY) * (SIZE - 1)
        await uploads.complete()
        assert not uploads.refused
        assert sorted(uploads.finished) == list(MANY)
        assert held(server) == 0


async def test_small_requests_go_on_beside_bodies_that_wait() -> None:
    async with serving(SITE, settings=SMALL) as server, peer(server.port) as client:
        uploads = Uploads(client)
        uploads.begin(*MANY)
        await uploads.standstill(server)
        assert any(uploads.left.values())
        assert uploads.window > 0
        client.send(client.request(101, "/gather", method="POST", end=False))
        client.send(data(101, b"small", end=True))
        assert await client.body(101) == b"5"
        assert await client.alive(103)


async def test_above_the_budget_the_youngest_are_refused_and_no_connection_is_lost() -> None:
    """So many that the windows that they begin with are more than there may be."""
    async with serving(SITE, settings=SMALL) as server, peer(server.port) as client:
        uploads = Uploads(client)
        uploads.begin(*range(1, 121, 2))
        await uploads.standstill(server)
        assert 0 < held(server) <= LIMIT // 2
        assert uploads.refused
        assert 1 not in uploads.refused
        await uploads.complete()
        assert sorted(uploads.finished + uploads.refused) == list(range(1, 121, 2))
        assert 1 in uploads.finished
        # What was refused may come again.
        again = uploads.refused.pop()
        uploads.refused.clear()
        uploads.windows.clear()
        uploads.finished.clear()
        uploads.begin(again + 200)
        await uploads.complete()
        assert uploads.finished == [again + 200]


async def test_a_connection_with_too_much_takes_nothing_from_another() -> None:
    async with (
        serving(SITE, settings=SMALL) as server,
        peer(server.port) as first,
        peer(server.port) as second,
        peer(server.port) as modest,
    ):
        greedy = [Uploads(first), Uploads(second)]
        for uploads in greedy:
            uploads.begin(*range(1, 81, 2))
            await uploads.standstill(server)
        assert held(server) > LIMIT // 2
        wanted = Uploads(modest)
        wanted.begin(1, 3)
        await asyncio.gather(*(uploads.complete() for uploads in (*greedy, wanted)))
        assert sorted(wanted.finished) == [1, 3]
        assert not wanted.refused
        assert held(server) == 0


async def test_a_body_that_stands_still_is_passed_over() -> None:
    settings = Http2Settings(inflight_bytes=LIMIT, stream_window=WINDOW, stall_timeout=0.1)
    async with serving(SITE, settings=settings) as server, peer(server.port) as client:
        uploads = Uploads(client)
        uploads.begin(1)
        uploads.paused.add(1)
        others = list(MANY)[1:]
        uploads.begin(*others)
        while sorted(uploads.finished) != others:
            for stream_id, left in tuple(uploads.left.items()):
                if not left and uploads.windows[stream_id] and stream_id != 1:
                    del uploads.left[stream_id]
                    client.send(data(stream_id, b"x", end=True))
            await uploads.step()
        assert not uploads.refused
        uploads.resume(1)
        await uploads.complete()
        assert uploads.finished[-1] == 1


@pytest.mark.parametrize("way", ["reset", "lost", "complete"])
async def test_what_a_body_held_is_free_when_it_is_over(way: str) -> None:
    async with serving(SITE, settings=SMALL) as server:
        async with peer(server.port) as client:
            uploads = Uploads(client)
            uploads.begin(1, 3, 5)
            await uploads.standstill(server)
            assert held(server)
            if way == "complete":
                await uploads.complete()
            elif way == "reset":
                client.send(*(RstStreamFrame(stream_id, 8) for stream_id in (1, 3, 5)))
                await client.handled()
            if way != "lost":
                assert held(server) == 0
        await until(lambda: held(server) == 0)


async def still(server: Server) -> None:
    """Return once the server has settled, and what it holds is the same as before."""
    before = -1
    while before != held(server):
        before = held(server)
        async with peer(server.port) as other:
            for stream_id in range(1, 101, 2):
                other.send(other.request(stream_id, "/queues"))
                assert await other.status(stream_id) == 200


async def until(reached: Callable[[], bool]) -> None:
    """Return once the server, which runs in this loop, has come so far."""
    async with asyncio.timeout(PATIENCE):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0)


@on_and_off
async def test_bodies_over_http1_count_too(cured: bool) -> None:
    size, count = 512 * KIB, 12
    store = MemoryStore()
    await store.start()
    settings = Http2Settings(inflight_bytes=4 * size if cured else 2**30)
    app = create_app(store, Settings(max_body=size))
    go = asyncio.Event()
    async with serving(app, settings=settings, receive_buffer=64 * KIB) as server:

        async def push(number: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST /push/q{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
            writer.write(head.encode() + b"x" * (size - 1))
            await go.wait()
            writer.write(b"\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line

        pushes = [asyncio.create_task(push(number)) for number in range(count)]
        if cured:
            await until(lambda: held(server) > size)
            await still(server)
            # A piece of each comes before it can be held up.
            assert held(server) <= 4 * size + count * 64 * KIB
        else:
            await until(lambda: held(server) >= count * (size - 1))
        go.set()
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*pushes)
        assert all(line.startswith(b"HTTP/1.1 20") for line in answers)
        await until(lambda: held(server) == 0)
    await store.stop()


async def test_many_large_pushes_come_through_a_small_budget() -> None:
    body = b"x" * (2 * KIB * KIB - 1) + b"\n"
    flags = ("--max-inflight-bytes", "8MiB", "--max-body", "2MiB")
    with ServerProcess(*flags) as running:
        async with Client(running.url) as client:
            await asyncio.gather(*(client.push(f"q{number}", body) for number in range(12)))
            for number in range(12):
                batch = await client.pull(f"q{number}", max_bytes=len(body))
                assert batch is not None
        assert running.stop() == 0


def test_the_flag_is_in_the_help() -> None:
    told = CliRunner().invoke(batchq.cli.server.server, ["--help"], terminal_width=200).output
    assert "[env var: BATCHQ_MAX_INFLIGHT_BYTES; default: 512MiB]" in " ".join(told.split())


@pytest.mark.parametrize(
    ("given", "body", "inflight", "window"),
    [
        (2**29, 2**26, 2**29, 2**22),
        (2**26, 2**26, 2**28, 2**21),
        (2**20, 2**18, 2**20, 65_535),
        (2**34, 2**26, 2**34, 2**22),
    ],
)
def test_the_largest_body_has_room(given: int, body: int, inflight: int, window: int) -> None:
    fitted = batchq.server._roomy(
        batchq.server.ServerSettings(
            app=Settings(max_body=body), http2=Http2Settings(inflight_bytes=given)
        )
    )
    assert (fitted.inflight_bytes, fitted.stream_window) == (inflight, window)


# --- the rules by themselves ---------------------------------------------------------


class Body:
    """Counts how often it may grow."""

    def __init__(self, inflight: InFlight, pool: Any, rest: int) -> None:
        self.grown = 0
        self.refused = False
        self.load = inflight.open(pool, rest, self._grow, self._refuse)

    def _grow(self) -> None:
        self.grown += 1

    def _refuse(self) -> None:
        self.refused = True


async def test_none_is_overtaken_for_being_large() -> None:
    inflight = InFlight(20_000, 60.0)
    first, large, small, other = (
        Body(inflight, inflight.pool(), rest) for rest in (8000, 12_000, 2500, 9000)
    )
    for body in (first, large, small):
        body.load.add(1000)
    other.load.add(8000)
    assert not first.load.may_grow()
    assert first.grown == 1  # at once: nobody had a pass
    assert not large.load.may_grow()
    assert not small.load.may_grow()
    assert (large.grown, small.grown) == (0, 0)  # it would fit, and waits for its turn
    first.load.close()
    other.load.close()
    assert (large.grown, small.grown) == (1, 1)


async def test_bytes_that_come_one_by_one_cost_more() -> None:
    inflight = InFlight(20_000, 60.0)
    pool = inflight.pool()
    old, many = Body(inflight, pool, 9000), Body(inflight, pool, 9000)
    old.load.add(1)
    for _ in range(300):
        many.load.add(1)
    assert many.refused
    assert not old.refused


def test_the_fullest_connection_is_the_one_to_refuse() -> None:
    inflight = InFlight(20_000, 60.0)
    bodies = [Body(inflight, inflight.pool(), 9000) for _ in range(4)]
    for body, size in zip(bodies, (9000, 5000, 5000, 300), strict=True):
        body.load.add(size)
    bodies[3].load.add(100)
    assert [body.refused for body in bodies] == [False] * 4
    bodies[3].load.add(900)
    assert [body.refused for body in bodies] == [True, False, False, False]
    assert inflight.whole.held < 20_000
