"""Random files through random faults: each copy ends identical, or says why it does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from faults.copying import copy_through_faults
from support.faults import Kind
from support.proxy import address_of
from support.servers import ServerProcess

RUNS = 208
GROUPS = 8


@pytest.mark.parametrize("group", range(GROUPS))
async def test_copies_through_random_faults(group: int, tmp_path: Path) -> None:
    fired: Counter[Kind] = Counter()
    # Half of the runs on each store, as the command serves it.
    store = f"sqlite:{tmp_path / 'queues.sqlite'}" if group % 2 else "memory:"
    with ServerProcess("--store", store) as server:
        seeds = range(group, RUNS, GROUPS)
        # Most of their time, copies wait for a fault to pass: side by side, and on queues
        # of their own, they wait together.
        copies = [copy_through_faults(address_of(server.url), tmp_path, seed) for seed in seeds]
        for seed, outcome in zip(seeds, await asyncio.gather(*copies), strict=True):
            assert outcome.batches >= 20
            assert outcome.fired.total() > 0, f"seed {seed}: nothing went wrong"
            # The faults are over before the patience is: nothing is a reason to fail.
            assert not outcome.errors, f"seed {seed}: {outcome.errors}"
            fired += outcome.fired
    assert set(fired) == set(Kind), fired
