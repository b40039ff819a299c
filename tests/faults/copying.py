"""Copies in both directions at once, through a proxy that does harm."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from support.faults import FaultPlan, Kind, drop_answer
from support.link import Address
from support.proxy import Proxy
from support.stream import assert_identical

from batchq_client import ClientError
from batchq_client.copy import (
    CopyError,
    CopyOptions,
    PathAddress,
    Progress,
    QueueAddress,
    Summary,
    read_queue,
    write_queue,
)

QUICK = CopyOptions(batch_bytes=2048, in_flight=4, wait=1.0, lease=2.0, retries=40, retry_for=60.0)
"""Small batches, so that a small file has many."""


@dataclass
class Outcome:
    """How a copy through faults ended.

    Attributes:
        batches: how many there were, at least.
        fired: how many faults struck, by kind.
        errors: what the two sides said, where they failed.
    """

    batches: int
    fired: Counter[Kind]
    errors: list[str] = field(default_factory=list)


def random_lines(chance: random.Random, size: int) -> bytes:
    """Lines of any bytes and lengths; the last one may lack its end."""
    data = bytearray()
    while len(data) < size:
        length = chance.choice((0, 1, 7, 80, 300, 1500))
        data += chance.randbytes(length).replace(b"\n", b"\r") + b"\n"
    return bytes(data[: -1 if chance.random() < 0.5 else None])


async def copy_through_faults(server: Address, folder: Path, seed: int) -> Outcome:
    """Copies a random file into a queue and out of it, both through one proxy.

    Raises:
        AssertionError: both sides were content with a destination that differs.
    """
    chance = random.Random(seed)
    source, target = folder / f"{seed}.source", folder / f"{seed}.target"
    source.write_bytes(random_lines(chance, chance.randrange(45_000, 70_000)))
    plan = FaultPlan(seed, span=64 * 1024, seconds=0.1, limit=chance.randrange(3, 8))
    outcome = Outcome(source.stat().st_size // QUICK.batch_bytes, Counter())
    async with Proxy(server, plan) as proxy:
        # At least one strikes, whatever the plan meets: an answer of which nobody hears.
        proxy.inject(drop_answer(seconds=0.1))
        queue = QueueAddress(proxy.url, f"random-{seed}")
        sides = (
            write_queue(PathAddress(source), queue, QUICK, Progress(), Summary("", "")),
            read_queue(queue, PathAddress(target), QUICK, Progress(), Summary("", "")),
        )
        ends = await asyncio.gather(*sides, return_exceptions=True)
        outcome.fired = proxy.counts
    for end in ends:
        if isinstance(end, BaseException):
            if not isinstance(end, CopyError | ClientError):
                raise end
            outcome.errors.append(str(end))
    if not outcome.errors:
        assert_identical(source, target)
        assert not target.with_name(target.name + ".part").exists()
    for path in (source, target):
        path.unlink(missing_ok=True)
    return outcome
