"""A pull gives as many lines as there are, however they lie in Redis."""

from __future__ import annotations

import pytest

from batchq.lines import batch_of
from batchq.model import MIB, Pulled, PullRequest, PushRequest
from batchq.stores.redis import RedisStore

LINES = 100
BLOCKS = 600


async def pulled(store: RedisStore, **how: object) -> Pulled:
    answer = await store.pull(PullRequest("q", **how))  # type: ignore[arg-type]
    assert isinstance(answer, Pulled)
    return answer


async def split_up(store: RedisStore) -> bytes:
    """Leaves a queue whose every second line was delivered once more than the others."""
    body = b"".join(b"%d\n" % number for number in range(LINES))
    await store.push(PushRequest("q", batch_of(body)))
    for number in range(LINES):
        await pulled(store, max=1, lease=500, lease_id=f"first{number}")
    await store.release("q", [f"first{number}" for number in range(0, LINES, 2)], None)
    for number in range(0, LINES, 2):
        await pulled(store, max=1, lease=500, lease_id=f"second{number}")
    of = ("second", "first")
    await store.release("q", [f"{of[number % 2]}{number}" for number in range(LINES)], None)
    return body


@pytest.mark.parametrize("how", [{"min": LINES, "partial": False}, {"min": 1}, {"max": LINES}])
async def test_of_lines_with_different_deliveries(
    store: RedisStore, how: dict[str, object]
) -> None:
    body = await split_up(store)
    answer = await pulled(store, lease=500, **how)
    assert answer.data == body
    assert answer.deliveries == 3
    assert answer.ready == 0


async def test_those_of_different_deliveries_are_waited_for_together(store: RedisStore) -> None:
    body = await split_up(store)
    await store.push(PushRequest("q", batch_of(b"more\n")))
    answer = await pulled(store, min=LINES + 1, partial=False)
    assert answer.data == body + b"more\n"


async def test_of_more_blocks_than_a_few(store: RedisStore) -> None:
    line = b"x" * 32_999 + b"\n"
    for _ in range(BLOCKS):
        await store.push(PushRequest("q", batch_of(line)))
    answer = await pulled(store, min=BLOCKS, partial=False, max_bytes=64 * MIB)
    assert (answer.lines, len(answer.data)) == (BLOCKS, BLOCKS * len(line))
