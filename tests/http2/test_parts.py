"""The pieces by themselves: field blocks, bodies, budgets, settings, the way in."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Callable
from typing import Any

import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.protocol
import hypercorn.protocol.h2
import pytest
from hpack import Decoder, Encoder
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.config import Config

import batchq.http2.hooks
from batchq.http2 import (
    BodyTooLargeError,
    ClientGoneError,
    Http2Settings,
    IncompatibleHypercornError,
    apply,
    install,
    installed,
    uninstall,
)
from batchq.http2.body import RequestBody
from batchq.http2.budget import Budget
from batchq.http2.headers import (
    NO_DYNAMIC_TABLE,
    RequestDecoder,
    encode_fields,
    encode_status,
)
from batchq.http2.inflight import InFlight, Load
from batchq.http2.protocol import H2Protocol
from batchq.http2.server import TCPServer

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/a?b"), (":authority", "h")]


# --- the way in --------------------------------------------------------------------


def test_hypercorn_has_the_shape_that_is_replaced() -> None:
    ours = list(inspect.signature(H2Protocol.__init__).parameters)
    assert ours == list(inspect.signature(hypercorn.protocol.h2.H2Protocol.__init__).parameters)
    for name in ("initiate", "handle"):
        theirs = inspect.signature(getattr(hypercorn.protocol.h2.H2Protocol, name))
        assert list(inspect.signature(getattr(H2Protocol, name)).parameters) == list(
            theirs.parameters
        )
    wrapper = inspect.getsource(hypercorn.protocol.ProtocolWrapper)
    assert wrapper.count("H2Protocol(") == 3
    worker = inspect.getsource(hypercorn.asyncio.run.worker_serve)
    assert "TCPServer(app, loop, config, context, lifespan_state, reader, writer)" in worker
    stock = inspect.getsource(hypercorn.asyncio.tcp_server.TCPServer)
    assert "await self._read_data()" in stock
    assert inspect.iscoroutinefunction(hypercorn.asyncio.tcp_server.TCPServer._read_data)
    assert list(inspect.signature(TaskGroup.spawn).parameters) == ["self", "func", "args"]


def test_install_rebinds_and_uninstall_gives_back() -> None:
    stock = hypercorn.protocol.h2.H2Protocol
    with installed(Http2Settings(read_size=2**17)) as registry:
        bound: Any = vars(hypercorn.protocol)["H2Protocol"]
        assert issubclass(bound, H2Protocol)
        assert bound.registry is registry
        server: Any = vars(hypercorn.asyncio.run)["TCPServer"]
        assert issubclass(server, TCPServer)
        assert server.registry is registry
    assert vars(hypercorn.protocol)["H2Protocol"] is stock
    assert vars(hypercorn.asyncio.run)["TCPServer"] is hypercorn.asyncio.tcp_server.TCPServer


def test_install_refuses_another_hypercorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchq.http2.hooks, "version", lambda _name: "0.19.0")
    with pytest.raises(IncompatibleHypercornError):
        install()
    assert vars(hypercorn.protocol)["H2Protocol"] is hypercorn.protocol.h2.H2Protocol
    uninstall()


def test_apply_lifts_the_request_cap() -> None:
    config = Config()
    apply(config, Http2Settings(drain_timeout=7, max_concurrent_streams=9))
    assert config.keep_alive_max_requests > 10**12
    assert config.graceful_timeout > 7
    assert config.h2_max_concurrent_streams == 9


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_frame_size": 16_383},
        {"max_frame_size": 2**24},
        {"stream_window": 2**31},
        {"inflight_bytes": 1},
        {"connection_window": 65_534},
        {"max_concurrent_streams": 0},
        {"max_connections": 0},
        {"max_header_list_size": 2**20},
        {"idle_timeout": 0},
        {"send_quantum": 0},
        {"max_concurrent_streams": 2.5},
        {"max_connections": True},
        {"reset_burst": -1},
        {"refusal_burst": 0},
        {"control_burst": math.inf},
        {"early_answer_drain": -1},
        {"reset_rate": -1.0},
        {"refusal_rate": math.nan},
        {"control_rate": math.inf},
        {"idle_timeout": math.nan},
        {"stall_timeout": math.inf},
        {"body_timeout": 0},
        {"ping_interval": math.nan},
        {"ping_timeout": -1.0},
        {"drain_timeout": "10"},
        {"linger": math.nan},
        {"linger": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Http2Settings(**wrong)


# --- field blocks ------------------------------------------------------------------


def test_answers_are_what_hpack_decodes() -> None:
    fields = [
        (b"Content-Type", b"text/plain"),
        (b"x-long", b"v" * 5000),
        (b"x-" + b"n" * 300, b" padded "),
        (b"set-cookie", b"secret"),
        (b"connection", b"close"),
    ]
    decoder = Decoder(max_header_list_size=2**20)
    for status in (200, 404, 507, 100):
        block = NO_DYNAMIC_TABLE + encode_status(status) + encode_fields(fields)
        assert decoder.decode(block, raw=True) == [
            (b":status", b"%d" % status),
            (b"content-type", b"text/plain"),
            (b"x-long", b"v" * 5000),
            (b"x-" + b"n" * 300, b"padded"),
            (b"set-cookie", b"secret"),
        ]
    assert decoder.header_table_size == 0


@pytest.mark.parametrize(
    "bad", [(b"", b"x"), (b":status", b"1"), (b"a b", b"x"), (b"a", b"x\r\ny")]
)
def test_answers_with_bad_fields_are_refused(bad: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match=r"field name|control byte"):
        encode_fields([bad])


def test_a_block_is_decoded_once_while_the_table_is_the_same() -> None:
    encoder, decoder = Encoder(), RequestDecoder(16_384)
    first = decoder.request(encoder.encode(GET))
    again = encoder.encode(GET)
    second = decoder.request(again)
    assert second == first
    assert decoder.request(again) is second


def test_a_kept_block_is_forgotten_when_the_table_changes() -> None:
    encoder, decoder = Encoder(), RequestDecoder(16_384)
    plain = [(":method", "GET"), (":scheme", "http"), (":path", "/")]
    decoder.request(encoder.encode([*plain, ("x", "one")]))
    block = encoder.encode([*plain, ("x", "one")])
    assert (b"x", b"one") in decoder.request(block).fields
    decoder.request(encoder.encode([*plain, ("x", "two")]))
    # The same bytes mean the newest entry, which is another one now.
    assert (b"x", b"two") in decoder.request(block).fields


def test_a_kept_block_is_forgotten_when_the_table_is_emptied() -> None:
    encoder, decoder = Encoder(), RequestDecoder(16_384)
    decoder.request(encoder.encode([*GET, ("x", "one")]))
    block = encoder.encode([*GET, ("x", "one")])
    decoder.request(block)
    encoder.header_table_size = 0
    decoder.request(encoder.encode(GET))
    with pytest.raises(Exception, match="field block broken"):
        decoder.request(block)


def test_a_request_head_is_split() -> None:
    fields = [*GET, ("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("host", "other")]
    head = RequestDecoder(16_384).request(Encoder().encode(fields))
    assert (head.method, head.path, head.raw_path, head.query) == ("GET", "/a", b"/a", b"b")
    assert head.fields == [(b"host", b"h"), (b"accept", b"*/*"), (b"cookie", b"a=1; b=2")]


# --- bodies ------------------------------------------------------------------------


class Source:
    def __init__(self) -> None:
        self.given = 0
        self.opened: list[int] = []
        self.inflight = InFlight(2**20, 60.0)

    def give_back(self, size: int) -> None:
        self.given += size

    def open_window(self, size: int) -> None:
        self.opened.append(size)

    def load(self, rest: int, grow: Callable[[], None]) -> Load:
        return self.inflight.open(self.inflight.pool(), rest, grow)

    def wanted(self) -> None:
        pass


def body_of(length: int = -1, window: int = 100) -> tuple[RequestBody, Source]:
    source = Source()
    return RequestBody(window, length, source, done=False), source


async def test_window_comes_back_as_the_application_reads() -> None:
    body, source = body_of()
    for _ in range(10):
        assert body.feed(b"x" * 10)
    assert (source.given, source.opened) == (0, [])
    for _ in range(6):
        assert await body.receive() == (b"x" * 10, True)
    assert (source.given, source.opened) == (60, [50])


async def test_the_last_piece_says_that_it_is_the_last() -> None:
    body, _ = body_of(4)
    body.feed(b"ab")
    body.feed(b"cd")
    assert body.finish()
    assert await body.receive() == (b"ab", True)
    assert await body.receive() == (b"cd", False)
    waiting = asyncio.create_task(body.receive())
    await asyncio.sleep(0)
    body.abort()
    assert await waiting is None


async def test_a_body_is_gathered_with_its_window_given_back_meanwhile() -> None:
    body, source = body_of()
    body.feed(b"ab")
    gathering = asyncio.create_task(body.gather(10))
    await asyncio.sleep(0)
    assert source.given == 2
    body.feed(b"cd")
    assert source.given == 4
    body.finish()
    assert await gathering == [b"ab", b"cd"]


@pytest.mark.parametrize("length", [11, -1])
async def test_a_body_that_is_too_large_is_told_at_once(length: int) -> None:
    body, source = body_of(length)
    gathering = asyncio.create_task(body.gather(10))
    await asyncio.sleep(0)
    if length < 0:
        assert not gathering.done()
        body.feed(b"x" * 11)
    with pytest.raises(BodyTooLargeError):
        await gathering
    body.feed(b"x" * 11)
    assert source.given == (11 if length > 0 else 22)
    assert not body.parts


async def test_a_body_that_breaks_off_gives_nothing() -> None:
    body, source = body_of()
    gathering = asyncio.create_task(body.gather(10))
    await asyncio.sleep(0)
    body.feed(b"ab")
    body.abort()
    with pytest.raises(ClientGoneError):
        await gathering
    assert source.given == 2


def test_a_body_is_stalled_when_its_client_may_send_and_does_not() -> None:
    body, _ = body_of()
    assert not body.stalled(10.0, 5.0)
    assert not body.stalled(14.0, 5.0)
    body.feed(b"x")
    assert not body.stalled(16.0, 5.0)
    assert not body.stalled(20.0, 5.0)
    assert body.stalled(21.0, 5.0)


def test_a_body_whose_client_may_not_send_is_not_stalled() -> None:
    body, _ = body_of()
    body.window = 0
    assert not any(body.stalled(now, 5.0) for now in (10.0, 20.0, 30.0))
    body.window = 1
    assert not body.stalled(34.0, 5.0)
    assert body.stalled(35.0, 5.0)


def test_a_body_longer_than_announced_is_noticed() -> None:
    body, _ = body_of(2)
    assert body.feed(b"ab")
    assert not body.feed(b"c")


# --- budgets -----------------------------------------------------------------------


def test_a_budget_refills_with_time_up_to_its_burst() -> None:
    start = time.monotonic()
    budget = Budget(2, 1.0, start)
    assert [budget.spend(start) for _ in range(3)] == [True, True, False]
    assert budget.spend(start + 2)
    assert [budget.spend(start + 100) for _ in range(3)] == [True, True, False]
