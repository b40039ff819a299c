from __future__ import annotations

import asyncio
import re

import pytest
from support.clients import client_of
from support.servers import LocalServer

from batchq.app.turns import Turns
from batchq.errors import Unprocessable
from batchq.formats import Steps
from batchq.model import MIB


def counted(name: str, steps: int, seen: list[str]) -> Steps[str]:
    for number in range(steps):
        seen.append(f"{name}{number}")
        yield
    return name


async def test_the_loop_goes_on_between_two_steps() -> None:
    seen: list[str] = []

    def work() -> Steps[None]:
        for number in range(3):
            asyncio.get_running_loop().call_soon(seen.append, f"other{number}")
            seen.append(f"step{number}")
            yield

    await Turns().run(work())
    assert seen == ["step0", "other0", "step1", "other1", "step2", "other2"]


async def test_one_piece_of_work_at_a_time() -> None:
    seen: list[str] = []
    turns = Turns()
    names = await asyncio.gather(*(turns.run(counted(name, 3, seen)) for name in "ab"))
    assert names == ["a", "b"]
    assert seen == ["a0", "b0", "a1", "a2", "b1", "b2"]


async def test_work_of_one_step_waits_for_nobody() -> None:
    seen: list[str] = []
    turns = Turns()
    long = asyncio.create_task(turns.run(counted("a", 3, seen)))
    await asyncio.sleep(0)
    assert await turns.run(counted("b", 0, seen)) == "b"
    assert not long.done()
    await long


async def test_work_that_fails_or_is_given_up_leaves_the_turn_to_the_next() -> None:
    def failing() -> Steps[None]:
        yield
        raise Unprocessable("no lines")

    turns = Turns()
    with pytest.raises(Unprocessable):
        await turns.run(failing())
    seen: list[str] = []
    given_up = asyncio.create_task(turns.run(counted("a", 9, seen)))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await turns.run(counted("b", 2, seen)) == "b"


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer_of(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    await reader.readexactly(0 if length is None else int(length[1]))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"[" + b'"",' * MIB + b'""]'),
        ("application/msgpack", b"\xdd\x00\x40\x00\x00" + b"\xa0" * 4 * MIB),
    ],
)
async def test_a_large_body_holds_nobody_up(served: LocalServer, kind: str, body: bytes) -> None:
    push, pushing = await asyncio.open_connection(*served.address)
    health, asking = await asyncio.open_connection(*served.address)
    pushing.write(
        b"POST /push/q HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        % (kind.encode(), len(body))
    )
    pushing.write(body[:-1])
    await pushing.drain()
    # Each answer shows that the loop went round, and so took some more of the body.
    for _ in range(100):
        asking.write(HEALTH)
        await answer_of(health)
    answered: list[str] = []

    async def note(name: str, reader: asyncio.StreamReader) -> None:
        await answer_of(reader)
        answered.append(name)

    # Both are with the server before it does anything about either.
    pushing.write(body[-1:])
    asking.write(HEALTH)
    await asyncio.gather(note("push", push), note("health", health))
    assert answered == ["health", "push"]
    for writer in (pushing, asking):
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("kind", ["application/json", "application/msgpack"])
async def test_a_pull_that_names_its_lines_gives_a_mebibyte(served: LocalServer, kind: str) -> None:
    async with client_of(served.url) as http:
        await http.post("/push/q", content=b"a\n" * 2 * MIB + b"x" * 2 * MIB)
        path = f"/pull/q?max_bytes={64 * MIB}"
        for lines in (MIB // 2, MIB // 2, MIB // 2, MIB // 2, 1):
            answer = await http.post(path, headers={"Accept": kind})
            assert answer.headers["batch-lines"] == str(lines)
        assert (await http.get("/queues/q")).json()["ready_lines"] == 0
