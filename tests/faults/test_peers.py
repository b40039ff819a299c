"""The small client itself: where something stands still, that is the server's doing."""

from __future__ import annotations

import asyncio

from faults.peers import Writer, patient_client
from support.accounting import Account
from support.servers import serving
from support.waiting import until_parked


async def test_an_answer_does_not_wait_for_those_of_batches_that_are_parked() -> None:
    """Else a batch that was refused is not sent again while those after it wait for it."""
    async with serving() as served, patient_client(served.url) as http:
        writer = Writer(http, Account(), "q")
        await writer.push(0, b"0\n")
        ahead = [asyncio.ensure_future(writer.push(seq, b"%d\n" % seq)) for seq in (2, 3, 4)]
        await until_parked(served.store, "q", 3)
        assert (await http.get("/queues/q")).json()["parked_pushes"] == 3
        await writer.push(1, b"1\n")
        answers = await asyncio.gather(*ahead)
        assert [answer.status_code for answer in answers] == [200, 200, 200]
