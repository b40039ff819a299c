"""Peers that reset streams and go away: what is sent again, and what is an error."""

import asyncio
from typing import Any

import httpx
import pytest
from hyperframe.frame import (
    GoAwayFrame,
)
from transport.http_clients import multiplex_client
from transport.raw_server import RawServer, data, goaway, reset

from batchq_client.transport import (
    StreamAboveGoaway,
    StreamRefused,
    safe_to_resend,
)

REFUSED_STREAM, CANCEL, NO_ERROR, PROTOCOL_ERROR, FRAME_SIZE_ERROR = 7, 8, 0, 1, 6


def start(client: httpx.AsyncClient, url: str, **options: Any) -> "asyncio.Task[httpx.Response]":
    method = "POST" if "content" in options else "GET"
    return asyncio.create_task(client.request(method, url, **options))


async def test_a_refused_stream_is_sent_again(raw: RawServer, client: httpx.AsyncClient) -> None:
    task = start(client, raw.url, content=b"body")
    peer = await raw.peer()
    first, _ = await peer.request()
    await peer.send(reset(first, REFUSED_STREAM))
    second, _ = await peer.request()
    assert await peer.body(second) == b"body"
    await peer.answer(second)
    assert (await task).content == b"ok"


async def test_a_stream_refused_again_and_again_is_an_error_that_is_safe(raw: RawServer) -> None:
    async with multiplex_client(resends=2) as client:
        task = start(client, raw.url)
        peer = await raw.peer()
        for _ in range(3):
            stream_id, _ = await peer.request()
            await peer.send(reset(stream_id, REFUSED_STREAM))
        with pytest.raises(StreamRefused) as caught:
            await task
        assert safe_to_resend(caught.value)


async def test_a_body_that_is_read_from_elsewhere_is_not_sent_again(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    async def pieces() -> Any:
        yield b"once"

    task = start(client, raw.url, content=pieces())
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(reset(stream_id, REFUSED_STREAM))
    with pytest.raises(StreamRefused) as caught:
        await task
    assert safe_to_resend(caught.value)


@pytest.mark.parametrize("code", [NO_ERROR, PROTOCOL_ERROR, CANCEL, 0xFEED])
async def test_any_other_reset_is_an_unknown_outcome(
    raw: RawServer, client: httpx.AsyncClient, code: int
) -> None:
    task, other = start(client, raw.url), start(client, raw.url)
    peer = await raw.peer()
    first, _ = await peer.request()
    second, _ = await peer.request()
    await peer.send(reset(first, code))
    await peer.answer(second)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await task
    assert not safe_to_resend(caught.value)
    assert (await other).content == b"ok"


async def test_a_reset_in_the_body_comes_after_what_was_received(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    async def read() -> tuple[list[bytes], Exception]:
        parts: list[bytes] = []
        async with client.stream("GET", raw.url) as response:
            try:
                parts.extend([part async for part in response.aiter_raw()])
            except httpx.RemoteProtocolError as error:
                return parts, error
        raise AssertionError

    task = asyncio.create_task(read())
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(peer.head(stream_id), data(stream_id, b"part"), reset(stream_id, CANCEL))
    _, error = await task
    assert "reset" in str(error)


async def test_goaway_twice_lowers_the_last_id(raw: RawServer, client: httpx.AsyncClient) -> None:
    tasks = [start(client, raw.url) for _ in range(2)]
    peer = await raw.peer()
    first, _ = await peer.request()
    await peer.request()
    await peer.send(goaway(2**31 - 1))
    await peer.ping()
    assert not any(task.done() for task in tasks)
    await peer.send(goaway(first))
    other = await raw.peer()
    again, _ = await other.request()
    await other.answer(again)
    await peer.answer(first)
    for task in tasks:
        assert (await task).content == b"ok"
    while (frame := await peer.any_frame()) is not None:
        last = frame
    assert isinstance(last, GoAwayFrame)  # ours, once the last stream was finished


async def test_a_streamed_body_above_goaway_is_a_safe_error(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    async def pieces() -> Any:
        yield b"once"

    task = start(client, raw.url, content=pieces())
    peer = await raw.peer()
    await peer.request()
    await peer.send(goaway(0))
    with pytest.raises(StreamAboveGoaway) as caught:
        await task
    assert safe_to_resend(caught.value)


async def test_after_goaway_new_requests_use_another_connection(
    raw: RawServer, client: httpx.AsyncClient
) -> None:
    first = start(client, raw.url)
    peer = await raw.peer()
    stream_id, _ = await peer.request()
    await peer.send(goaway(stream_id))
    await peer.ping()
    second = start(client, raw.url)
    other = await raw.peer()
    again, _ = await other.request()
    await other.answer(again)
    assert (await second).content == b"ok"
    await peer.answer(stream_id)
    assert (await first).content == b"ok"
