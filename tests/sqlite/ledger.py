"""What a run of ``worker`` said, as an account; and the careful client that goes on after it.

Line by line, its words are: ``attempted SEQ``, ``acknowledged SEQ OFFSET POSITION``,
``delivered OFFSET POSITION LINES DELIVERIES LEASE DATA``, ``done LEASE`` and
``refused CODE FAILURE``.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Sequence

from sqlite import worker
from sqlite.sqlite_support import numbered
from support.accounting import Account, Delivery, Outcome, Report
from support.stream import digest_of

from batchq.model import CloseRequest, End, Pulled, PullRequest
from batchq.stores.sqlite import SqliteStore


def account_of(
    said: Iterable[Sequence[str]], batch: Callable[[int], bytes] = worker.mixed
) -> Account:
    """Enters what was said, up to the moment at which the worker was cut short."""
    account = Account()
    for first, *words in said:
        if first == "attempted":
            account.attempted("w", int(words[0]), batch(int(words[0])))
        elif first == "acknowledged":
            seq, offset, position = map(int, words)
            account.acknowledged("w", seq, offset=offset, position=position)
        elif first == "delivered":
            *told, lease, data = words
            _delivered(account, [int(number) for number in told], lease, data)
        elif first == "done":
            account.done(words[0])
    return account


def _delivered(account: Account, told: list[int], lease: str, data: str) -> None:
    offset, position, lines, deliveries = told
    content = zlib.decompress(base64.b64decode(data))
    asked = account.tick()  # the worker does one thing after the other
    account.delivered(Delivery(offset, position, lines, content, deliveries, lease, asked))


async def settle(store: SqliteStore, account: Account) -> Report:
    """Sends again what got no answer, then the rest; reads to the end; gives the clean report."""
    await _push_rest(store, account)
    batches = [worker.mixed(seq) for seq in range(worker.BATCHES)]
    size = sum(map(len, batches))
    await store.close(CloseRequest("q", None, size, digest_of(batches)))
    while not isinstance(answer := await _pull(store, account), End):
        pass
    account.ended(lines=answer.lines, bytes=answer.bytes, digest=answer.digest)
    report = account.report()
    report.assert_clean()
    assert report.batches == worker.BATCHES
    return report


async def _push_rest(store: SqliteStore, account: Account) -> None:
    told = {batch.seq for batch in account.sent if batch.outcome is Outcome.ACKNOWLEDGED}
    assert told == set(range(len(told)))
    for seq in range(len(told), worker.BATCHES):
        account.attempted("w", seq, worker.mixed(seq))
        pushed = await store.push(numbered(seq, worker.mixed(seq)))
        if pushed.duplicate:
            account.acknowledged("w", seq)
        else:
            account.acknowledged("w", seq, offset=pushed.offset, position=pushed.position)


async def _pull(store: SqliteStore, account: Account) -> Pulled | End:
    asked = account.tick()
    answer = await store.pull(PullRequest("q", max_bytes=1 << 20, lease=60.0, wait=5.0))
    if isinstance(answer, End):
        return answer
    assert isinstance(answer, Pulled), answer
    assert answer.lease is not None
    account.delivered(
        Delivery(
            answer.offset,
            answer.position,
            answer.lines,
            answer.data,
            answer.deliveries,
            answer.lease.id,
            asked,
        )
    )
    await store.ack("q", [answer.lease.id], None)
    account.done(answer.lease.id)
    return answer
