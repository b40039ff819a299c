"""What httpx's own HTTP/2 does wrong, each shown on it and on this transport.

Where the stock client waits for what does not come, the loop is first given turns enough for
all that was sent to be acted on; then what it waits for is let go, and is seen to come.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hyperframe.frame import (
    DataFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from transport.http_clients import multiplex_client, stock_client
from transport.raw_server import PATIENCE, RawPeer, RawServer, data, goaway, window

_ROUNDS = 30


async def settled() -> None:
    """Return once every client in this loop has acted on all that was sent to it."""
    async with RawServer.run() as aside, multiplex_client() as other:
        peer = await warm(aside, other)
        for _ in range(_ROUNDS):
            task = start(other, aside.url)
            stream_id, _ = await peer.request()
            await peer.answer(stream_id)
            await task


async def finishes(task: "asyncio.Task[Any]", *, expected: bool) -> bool:
    """Whether a task ends by itself; where it should not, once the loop has settled."""
    if expected:
        await asyncio.wait([task], timeout=PATIENCE)
    else:
        await settled()
    return task.done()


@pytest.fixture(params=["multiplex", "stock"])
async def cured(request: pytest.FixtureRequest) -> AsyncIterator[tuple[bool, httpx.AsyncClient]]:
    """Give a client, and whether it is the one with the cures."""
    ours = request.param == "multiplex"
    async with multiplex_client(max_connections=2) if ours else stock_client() as client:
        yield ours, client


def start(client: httpx.AsyncClient, url: str, **options: Any) -> "asyncio.Task[httpx.Response]":
    method = "POST" if "content" in options else "GET"
    return asyncio.create_task(client.request(method, url, **options))


async def warm(raw: RawServer, client: httpx.AsyncClient) -> RawPeer:
    """Give a connection whose settings both sides know."""
    first = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.answer(stream_id)
    await first
    return peer


async def end(*tasks: "asyncio.Task[httpx.Response]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_answer_waits_for_no_other_reader(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    peer = await warm(raw, client)
    polls = {}
    for _ in range(5):
        task = start(client, raw.url)
        polls[(await peer.request())[0]] = task
    quick = start(client, raw.url)
    stream_id, _ = await peer.request()
    await peer.answer(stream_id)
    assert await finishes(quick, expected=ours) is ours
    ended: list[asyncio.Task[httpx.Response]] = []
    for task in (quick, *polls.values()):
        task.add_done_callback(ended.append)
    for stream_id in polls:
        await peer.answer(stream_id)
    await asyncio.gather(quick, *polls.values())
    assert (ended[0] is quick) is ours


async def test_a_cancelled_request_is_reset(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    task = start(client, raw.url)
    peer = await raw.peer()
    cancelled, _ = await peer.request()
    await end(task)
    second = start(client, raw.url)
    stream_id, _ = await peer.request()
    assert [f.stream_id for f in peer.seen(RstStreamFrame)] == ([cancelled] if ours else [])
    await peer.answer(stream_id)
    assert (await second).status_code == 200


async def test_a_response_that_is_left_is_reset(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    sending = asyncio.create_task(client.send(client.build_request("GET", raw.url), stream=True))
    peer = await raw.peer()
    left, _ = await peer.request()
    await peer.send(peer.head(left), data(left, b"some"))
    await (await sending).aclose()
    second = start(client, raw.url)
    stream_id, _ = await peer.request()
    assert [f.stream_id for f in peer.seen(RstStreamFrame)] == ([left] if ours else [])
    await peer.answer(stream_id)
    await second


async def test_data_of_abandoned_streams_is_acknowledged(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    if ours:  # as large as the stock one, which gives window back after half of it
        client = multiplex_client(connection_window=2**24)
    peer = None
    for _ in range(140):
        task = asyncio.create_task(client.send(client.build_request("GET", raw.url), stream=True))
        peer = peer or await raw.peer()
        stream_id, _ = await peer.request()
        await peer.send(peer.head(stream_id))
        await (await task).aclose()
        payload = bytes(16_000)
        await peer.send(*[data(stream_id, payload)] * 4, data(stream_id, end=True))
    assert peer
    for _ in range(2):  # the second one's head comes after all that was read before
        last = start(client, raw.url)
        stream_id, _ = await peer.request()
        await peer.answer(stream_id)
        await last
    given = [f for f in peer.seen(WindowUpdateFrame) if not f.stream_id]
    assert len(given) == (2 if ours else 1)  # the first opens the window at the start
    await client.aclose()


async def test_an_upload_goes_on_when_its_window_opens(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    peer = await warm(raw, client)
    poll = start(client, raw.url)
    poll_id, _ = await peer.request()
    upload = start(client, raw.url, content=bytes(100_000))
    stream_id, _ = await peer.request()
    received = 0
    while received < 65_535:
        received += len((await peer.next(DataFrame)).data)
    await peer.send(window(0, 50_000), window(stream_id, 50_000))

    async def rest() -> int:
        count = 0
        while count < 100_000 - 65_535:
            count += len((await peer.next(DataFrame)).data)
        return count

    waiting = asyncio.create_task(rest())
    assert await finishes(waiting, expected=ours) is ours
    await peer.answer(poll_id)
    await waiting
    await peer.answer(stream_id)
    assert [r.status_code for r in await asyncio.gather(poll, upload)] == [200, 200]


async def test_a_read_timeout_fails_one_stream(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    peer = await warm(raw, client)
    hasty = start(client, raw.url, timeout=httpx.Timeout(PATIENCE, read=0.2))
    await peer.request()
    patient = start(client, raw.url)
    stream_id, _ = await peer.request()
    with pytest.raises(httpx.ReadTimeout):
        await hasty
    await peer.answer(stream_id)
    outcome = (await asyncio.gather(patient, return_exceptions=True))[0]
    assert isinstance(outcome, httpx.Response) is ours


async def test_above_the_stream_limit_another_connection_is_opened(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    first = start(client, raw.url)
    peer = await raw.peer({SettingsFrame.MAX_CONCURRENT_STREAMS: 1})
    first_id, _ = await peer.request()
    await peer.ping()
    second = start(client, raw.url)
    if ours:
        other = await raw.peer()
        stream_id, _ = await other.request()
        await other.answer(stream_id)
        assert (await second).status_code == 200
        await peer.answer(first_id)
    else:
        await settled()
        assert (raw.waiting, len(peer.seen(HeadersFrame))) == (0, 1)
        await peer.answer(first_id)
        stream_id, _ = await peer.request()
        await peer.answer(stream_id)
        assert (await second).status_code == 200
    assert (await first).status_code == 200


class CountedBytes(bytes):
    """Counts what is copied by slicing."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        part = CountedBytes(super().__getitem__(key))
        CountedBytes.copied += len(part)
        return part


async def test_a_body_is_sent_without_copying_its_rest(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    CountedBytes.copied = 0
    body = CountedBytes(bytes(60_000))
    upload = start(client, raw.url, content=body)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    assert await peer.body(stream_id) == body
    await peer.answer(stream_id)
    await upload
    assert (CountedBytes.copied == 0) is ours


async def test_large_frames_are_asked_for(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    task = start(client, raw.url)
    peer = await raw.peer()
    assert (peer.client_settings.get(SettingsFrame.MAX_FRAME_SIZE, 2**14) > 2**14) is ours
    await end(task)


async def test_what_goaway_leaves_is_finished_and_the_rest_resent(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    peer = await warm(raw, client)
    first = start(client, raw.url)
    kept, _ = await peer.request()
    second = start(client, raw.url, content=b"body")
    above, _ = await peer.request()
    assert await peer.body(above) == b"body"
    await peer.send(goaway(kept), peer.head(kept), data(kept, b"late", end=True))
    if ours:
        other = await raw.peer()
        stream_id, _ = await other.request()
        assert await other.body(stream_id) == b"body"
        await other.answer(stream_id, b"again")
        assert (await first).content == b"late"
        assert (await second).content == b"again"
    else:  # the answer that the peer gave is lost
        with pytest.raises(httpx.TransportError):
            await first
        await end(second)


async def test_a_connection_that_ended_is_not_used_again(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient]
) -> None:
    ours, client = cured
    peer = await warm(raw, client)
    peer.close()
    await peer.writer.wait_closed()
    while await peer.any_frame():
        pass
    second = start(client, raw.url)
    if ours:
        other = await raw.peer()
        stream_id, _ = await other.request()
        await other.answer(stream_id)
        assert (await second).status_code == 200
    else:
        with pytest.raises(httpx.TransportError):
            await second


async def test_bodies_are_not_formatted_for_a_log(
    raw: RawServer, cured: tuple[bool, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, client = cured
    formatted: list[DataFrame] = []

    def body_repr(frame: DataFrame) -> str:
        formatted.append(frame)
        return ""

    monkeypatch.setattr(DataFrame, "_body_repr", body_repr)
    task = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.answer(stream_id, bytes(10_000))
    assert len((await task).content) == 10_000
    assert (formatted == []) is ours
    assert peer.seen(HeadersFrame)
