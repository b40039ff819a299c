"""The stores on the event loop that the server runs on."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from batchq.model import Nothing, PullRequest
from batchq.stores.memory import MemoryStore


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_waits_of_less_than_a_millisecond(factory: object) -> None:
    async def pulls() -> list[object]:
        store = MemoryStore()
        await store.start()
        # What uvloop gives for a timer that is due at once has no time.
        waits = [0.0004, 0.0003, 0.0002, 0.0001]
        try:
            asked = [store.pull(PullRequest(f"q{wait}", wait=wait)) for wait in waits]
            return list(await asyncio.gather(*asked))
        finally:
            await store.stop()

    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]
        answers = runner.run(pulls())
    assert [type(answer) for answer in answers] == [Nothing] * 4
