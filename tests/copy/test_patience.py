"""How long faults are borne, with which pauses, and what is said of it."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Self

import pytest
from support.clock import VirtualTimeLoop, advance, settle
from support.copies import batchq
from support.faults import Fault, Kind, Way
from support.proxy import address_of, proxy_in_thread
from support.servers import ServerProcess

from batchq_client import errors
from batchq_client.copy import CopyError
from batchq_client.copy.retry import Patience


async def test_patience_ends() -> None:
    patience = Patience(0.2)
    fault = errors.NotSent("away")
    with pytest.raises(CopyError, match="away"):  # noqa: PT012
        async with asyncio.timeout(10):
            while True:
                await patience.bear(fault, repeatable=True)


class Clocked:
    """Patience on a clock of its own."""

    def __init__(self, seconds: float) -> None:
        self.loop = VirtualTimeLoop()
        self.patience = Patience(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def pause(self, error: errors.ClientError, **how: Any) -> float:
        """Bears an error; gives how long that took."""
        began = self.loop.time()
        bearing = self.loop.create_task(self.patience.bear(error, repeatable=True, **how))
        self.loop.run_until_complete(settle())
        while not bearing.done():
            moment = self.loop.next_timer()
            assert moment is not None
            self.loop.run_until_complete(advance(moment - self.loop.time()))
        bearing.result()
        return self.loop.time() - began

    def passes(self, seconds: float) -> None:
        self.loop.run_until_complete(advance(seconds))


def test_pauses_grow_and_are_spread() -> None:
    first: list[float] = []
    for _ in range(20):
        with Clocked(1000) as clocked:
            pauses = [clocked.pause(errors.NotSent("away")) for _ in range(10)]
            for number, pause in enumerate(pauses):
                longest = min(0.1 * 2**number, 5.0)
                assert longest / 2 <= pause <= longest + 1e-6, (number, pause)
            first.append(pauses[0])
    assert len(set(first)) > 1, "clients that failed together don't come again together"


def test_all_of_the_time_is_used() -> None:
    for _ in range(20):
        with Clocked(2) as clocked:
            lasted = 0.0
            with pytest.raises(CopyError):  # noqa: PT012
                while True:
                    lasted += clocked.pause(errors.NotSent("away"))
            assert lasted == pytest.approx(2, abs=0.01)


def test_a_success_gives_patience_back() -> None:
    with Clocked(3) as clocked:
        for _ in range(3):
            for _ in range(4):
                clocked.pause(errors.NotSent("away"))

            async def works() -> None:
                clocked.patience.restored()

            clocked.loop.run_until_complete(works())


def test_patience_is_counted_from_when_the_answer_was_due() -> None:
    with Clocked(3) as clocked:
        due = clocked.loop.time()
        clocked.passes(10)
        # One more try there is; after that, ten seconds have been long enough.
        clocked.pause(errors.OutcomeUnknown("silence"), due=due)
        with pytest.raises(CopyError, match=r"silence \(for 10 s\)"):
            clocked.pause(errors.OutcomeUnknown("silence"))


def test_while_there_is_trouble_a_try_has_no_more_time_than_patience_is_left() -> None:
    with Clocked(3) as clocked:
        clocked.pause(errors.NotSent("away"))
        silence = clocked.loop.create_task(clocked.patience.within(_never))
        clocked.passes(2.8)
        assert not silence.done()
        clocked.passes(0.2)
        assert isinstance(silence.exception(), errors.OutcomeUnknown)


async def _never() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("waits", [False, True])
def test_who_waits_is_told_after_a_second_while_the_next_try_hangs(
    caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    with Clocked(60) as clocked:
        clocked.pause(errors.NotSent("away"), waits=waits)
        clocked.passes(0.85)
        assert not caplog.messages
        clocked.passes(0.15)
        # A pull that waits for lines hangs without any trouble.
        assert caplog.messages == ([] if waits else ["away; trying again for up to 60 s"])
        clocked.pause(errors.NotSent("still away"), waits=waits)
        clocked.passes(10)
        assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("error", "repeatable"),
    [
        (errors.OutcomeUnknown("x"), False),
        (errors.UnexpectedAnswer("x", 502), False),
        (errors.UnexpectedAnswer("x", 200), True),
    ],
)
async def test_what_is_not_retried(error: errors.ClientError, repeatable: bool) -> None:
    with pytest.raises(type(error)) as caught:
        await Patience(60).bear(error, repeatable=repeatable)
    assert caught.value is error


def test_a_server_that_has_vanished_is_given_up_in_time(server: ServerProcess) -> None:
    with proxy_in_thread(address_of(server.url)) as proxy:
        hole = Fault(Kind.BLACK_HOLE, Way.TO_SERVER, after=0, seconds=600)
        proxy.inject(*[hole] * 60)
        done = batchq("copy", "--retry-for", "3", "/etc/passwd", f"{proxy.url}/vanished")
    assert done.returncode == 1
    *_, last = done.stderr.decode().splitlines()
    # A request without a wait has ten seconds for its answer, and there is one more try.
    lasted = re.search(r"\(for (\d+) s\)$", last)
    assert lasted is not None, last
    assert int(lasted[1]) >= 10, "that is how long it was, and not what was asked for"
