"""The fault proxy does what it is told, and says so."""

from __future__ import annotations

import asyncio
import math
import socket

import h2.config
import h2.connection
import pytest
from support.faults import ALL_KINDS, AnswerWatch, Fault, FaultPlan, Kind, Way, drop_answer
from support.link import Address
from support.proxy import Proxy, proxy_in_thread

SECONDS = 20.0
DATA = bytes(range(256)) * 2048


async def told(address: Address, data: bytes, *, end: bool = True) -> bytes | None:
    """What comes back of ``data``; None for a connection that was reset."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*address)
        try:
            return await _told(reader, writer, data, end=end)
        finally:
            writer.close()


async def _told(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, *, end: bool
) -> bytes | None:
    reading = asyncio.create_task(reader.read(-1))
    try:
        writer.write(data)
        await writer.drain()
        if end:
            writer.write_eof()
        return await reading
    except ConnectionError:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return None


class Sink:
    """A server that keeps what it gets, and answers nothing by itself."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = asyncio.Event()
        self.grew = asyncio.Event()
        self.reset = False
        self.writer: asyncio.StreamWriter | None = None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            while data := await reader.read(65536):
                self.received += data
                self.grew.set()
        except ConnectionError:
            self.reset = True
        self.ended.set()
        writer.close()

    async def grown(self, size: int) -> None:
        """Waits until so many bytes came."""
        while len(self.received) < size:
            self.grew.clear()
            await self.grew.wait()


async def test_without_faults_all_passes_both_ways(echo: Address) -> None:
    async with Proxy(echo) as proxy:
        answers = await asyncio.gather(*(told(proxy.address, DATA) for _ in range(8)))
    assert answers == [DATA] * 8
    assert proxy.connections == 8
    assert proxy.fired == []
    assert proxy.open == 0


@pytest.mark.parametrize("after", [0, 1, 1000, 300_000])
async def test_a_cut_passes_exactly_the_bytes_before_it_to_the_client(
    echo: Address, after: int
) -> None:
    async with Proxy(echo) as proxy:
        proxy.inject(Fault(Kind.CUT, Way.TO_CLIENT, after, reset=False))
        assert await told(proxy.address, DATA, end=False) == DATA[:after]
    assert proxy.counts == {Kind.CUT: 1}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("after", [0, 1, 1000, 300_000])
async def test_a_cut_passes_exactly_the_bytes_before_it_to_the_server(
    after: int, reset: bool
) -> None:
    sink = Sink()
    server = await asyncio.start_server(sink, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        proxy.inject(Fault(Kind.CUT, Way.TO_SERVER, after, reset=reset))
        await told(proxy.address, DATA, end=False)
        async with asyncio.timeout(SECONDS):
            await sink.ended.wait()
    assert sink.reset == reset
    # A reset may overtake what the kernel had not given out yet.
    assert sink.received == DATA[: len(sink.received)]
    assert len(sink.received) <= after if reset else len(sink.received) == after


async def test_a_reset_is_one(echo: Address) -> None:
    async with Proxy(echo) as proxy:
        proxy.inject(Fault(Kind.CUT, Way.TO_SERVER, 10))
        assert await told(proxy.address, DATA[:10], end=False) is None


async def test_a_delay_holds_the_bytes_back_and_then_gives_them(echo: Address) -> None:
    loop = asyncio.get_running_loop()
    async with Proxy(echo) as proxy:
        proxy.inject(Fault(Kind.DELAY, Way.TO_CLIENT, 100, seconds=0.2))
        began = loop.time()
        assert await told(proxy.address, DATA) == DATA
        assert loop.time() - began >= 0.2
    assert proxy.counts == {Kind.DELAY: 1}


@pytest.mark.parametrize("way", list(Way))
async def test_a_throttled_way_is_slow(echo: Address, way: Way) -> None:
    loop = asyncio.get_running_loop()
    async with Proxy(echo) as proxy:
        proxy.inject(Fault(Kind.THROTTLE, way, seconds=60, rate=200_000))
        began = loop.time()
        assert await told(proxy.address, DATA[:50_000]) == DATA[:50_000]
        assert loop.time() - began >= 0.2
    assert proxy.counts == {Kind.THROTTLE: 1}


async def test_a_throttled_way_is_fast_again_when_its_time_is_over(echo: Address) -> None:
    async with Proxy(echo) as proxy:
        proxy.inject(Fault(Kind.THROTTLE, seconds=0.05, rate=1000))
        assert await told(proxy.address, DATA) == DATA  # would be nine minutes


async def test_a_half_close_to_the_server_leaves_the_answers() -> None:
    sink = Sink()
    server = await asyncio.start_server(sink, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        proxy.inject(Fault(Kind.HALF_CLOSE, Way.TO_SERVER, 7, seconds=math.inf))
        reader, writer = await asyncio.open_connection(*proxy.address)
        async with asyncio.timeout(SECONDS):
            writer.write(DATA)
            await sink.ended.wait()
            assert bytes(sink.received) == DATA[:7]
            assert sink.writer is not None
            assert await reader.read() == b""
        writer.close()
    assert proxy.counts == {Kind.HALF_CLOSE: 1}


async def test_a_half_close_to_the_client_leaves_the_requests(echo: Address) -> None:
    sink = Sink()
    server = await asyncio.start_server(sink, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        proxy.inject(Fault(Kind.HALF_CLOSE, Way.TO_CLIENT, 0, seconds=math.inf))
        reader, writer = await asyncio.open_connection(*proxy.address)
        async with asyncio.timeout(SECONDS):
            writer.write(b"one")
            assert await reader.read() == b""
            writer.write(b"two")
            writer.write_eof()
            await sink.ended.wait()
        assert bytes(sink.received) == b"onetwo"
        writer.close()


async def test_a_black_hole_swallows_both_ways_and_then_cuts() -> None:
    sink = Sink()
    server = await asyncio.start_server(sink, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        proxy.inject(Fault(Kind.BLACK_HOLE, Way.TO_SERVER, 3, seconds=0.2))
        reader, writer = await asyncio.open_connection(*proxy.address)
        async with asyncio.timeout(SECONDS):
            writer.write(b"abcdef")
            await proxy.struck()
            await sink.grown(3)
            assert sink.writer is not None
            sink.writer.write(b"nobody hears this")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await sink.ended.wait()
        assert bytes(sink.received) == b"abc"
        writer.close()
    assert proxy.counts == {Kind.BLACK_HOLE: 1}


async def test_a_dropped_answer_leaves_the_request_whole() -> None:
    asked = asyncio.Event()
    request = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request.extend(await reader.readexactly(len(DATA)))
        writer.write(b"done")
        asked.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        proxy.inject(drop_answer())
        assert await told(proxy.address, DATA, end=False) is None
        async with asyncio.timeout(SECONDS):
            await asked.wait()
    assert request == DATA
    assert proxy.counts == {Kind.DROP_ANSWER: 1}


async def test_refusing_is_real_and_ends() -> None:
    sink = Sink()
    server = await asyncio.start_server(sink, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        proxy.inject(Fault(Kind.REFUSE, seconds=0.3))
        assert await told(proxy.address, b"x", end=False) is None
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*proxy.address)
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection(*proxy.address)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                else:
                    break
        writer.close()
    assert proxy.counts == {Kind.REFUSE: 1}


async def test_refusing_by_hand_keeps_the_port(echo: Address) -> None:
    async with Proxy(echo) as proxy:
        for _ in range(3):
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*proxy.address)
            proxy.accept()
            assert await told(proxy.address, b"again") == b"again"


async def test_a_server_that_is_away_resets_and_may_come_back_elsewhere(echo: Address) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with Proxy(closed.getsockname()) as proxy:
            assert await told(proxy.address, b"x") is None
            proxy.target = echo
            assert await told(proxy.address, b"x") == b"x"


async def test_a_fault_that_did_not_strike_waits_for_the_next_connection(echo: Address) -> None:
    async with Proxy(echo) as proxy:
        proxy.inject(Fault(Kind.CUT, Way.TO_CLIENT, 100, reset=False))
        assert await told(proxy.address, DATA[:50]) == DATA[:50]
        assert proxy.fired == []
        assert await told(proxy.address, DATA, end=False) == DATA[:100]
        assert await told(proxy.address, DATA) == DATA
    assert [fired.connection for fired in proxy.fired] == [1]


async def test_cut_all_cuts_what_is_open_and_no_more(echo: Address) -> None:
    async with Proxy(echo) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.cut_all()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        assert await told(proxy.address, b"b") == b"b"


async def test_the_end_of_the_proxy_is_the_end_of_its_connections(echo: Address) -> None:
    async with Proxy(echo) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
    assert proxy.open == 0
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*proxy.address)


def test_a_plan_is_its_seed() -> None:
    plan = [FaultPlan(3).of(n) for n in range(20)]
    assert plan == [FaultPlan(3).of(n) for n in range(20)]
    assert plan != [FaultPlan(4).of(n) for n in range(20)]
    assert None not in plan[:8]
    assert plan[8:] == [None] * 12
    assert {fault.kind for fault in plan if fault is not None} == set(ALL_KINDS)


def test_a_plan_keeps_to_its_bounds() -> None:
    faults = [FaultPlan(seed, skip=1, span=1000).of(1) for seed in range(300)]
    assert all(fault is not None and 0 <= fault.after < 1000 for fault in faults)
    early = sum(fault is not None and fault.after < 32 for fault in faults)
    assert 100 < early < 200
    assert FaultPlan(0, skip=1).of(0) is None


async def test_a_planned_run_ends_clean_and_counts_what_fired(echo: Address) -> None:
    async with Proxy(echo, FaultPlan(1, span=1000)) as proxy:
        answers: list[bytes | None] = []
        while len(answers) < 12:
            try:
                answers.append(await told(proxy.address, DATA))
            except ConnectionRefusedError:
                await asyncio.sleep(0.005)
    assert answers[8:] == [DATA] * 4
    assert sum(proxy.counts.values()) == 8
    assert set(proxy.counts) == set(ALL_KINDS)
    assert [fired.connection for fired in proxy.fired] == list(range(8))


async def test_a_proxy_in_a_thread_serves_code_that_blocks(echo: Address) -> None:
    def blocking() -> None:
        with proxy_in_thread(echo) as proxy:
            with socket.create_connection(proxy.address, SECONDS) as sock:
                sock.sendall(b"a")
                assert sock.recv(1) == b"a"
                proxy.inject(Fault(Kind.CUT, Way.TO_SERVER, 0, reset=False))
                sock.sendall(b"b")
                proxy.struck()
                assert sock.recv(1) == b""
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(proxy.address, SECONDS)
            proxy.accept()
            with socket.create_connection(proxy.address, SECONDS) as sock:
                sock.sendall(b"c")
                assert sock.recv(1) == b"c"
            assert proxy.counts == {Kind.CUT: 1}
            assert proxy.connections == 2

    await asyncio.to_thread(blocking)


def answers_of(*bodies: bytes) -> tuple[bytes, list[int], list[int]]:
    """What an HTTP/2 server sends, with the borders of its answers."""
    client = h2.connection.H2Connection()
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    for number in range(len(bodies)):
        client.send_headers(
            2 * number + 1,
            [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/")],
            end_stream=True,
        )
    server.receive_data(client.data_to_send())
    sent = server.data_to_send()
    begins, ends = [], []
    for number, body in enumerate(bodies):
        begins.append(len(sent))
        server.send_headers(2 * number + 1, [(":status", "200")])
        server.send_data(2 * number + 1, body, end_stream=True)
        server.ping(b"12345678")
        sent += server.data_to_send()
        ends.append(len(sent) - 17)
    return sent, begins, ends


@pytest.mark.parametrize("chunk", [1, 2, 5, 9, 10, 64, 100_000])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_answers_are_found_in_http2_however_they_are_cut(chunk: int, which: int) -> None:
    sent, begins, ends = answers_of(b"first", b"", b"third" * 1000)
    watch = AnswerWatch(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    start = begins[which]
    found = None
    for at in range(0, len(sent), chunk):
        piece = sent[at : at + chunk]
        if found is None:
            begin = watch.begins(piece, start - at)
            if begin is None:
                continue
            found = at + begin
            piece = piece[begin:]
        if watch.ends(piece):
            ended = min(at + chunk, len(sent))
            break
    # The first bytes of a frame's header can't be told from another's.
    assert found is not None
    assert start <= found < start + 9
    assert ends[which] <= ended < ends[which] + chunk


def test_a_watch_asked_for_nothing_follows_all() -> None:
    sent, _, _ = answers_of(b"x", b"y")
    assert AnswerWatch(b"PRI * HTTP/2.0").begins(sent, len(sent) + 1) is None
    assert AnswerWatch(b"GET / HTTP/1.1").begins(sent, len(sent) + 1) is None
    assert AnswerWatch(b"GET / HTTP/1.1").begins(sent, -5) == 0
