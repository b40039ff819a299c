"""Any steps in any order: the store answers as the naive model does.

Names, lines, producers and times are few and small, so that states collide often.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from model.naive import Verb
from model.pair import Pair

from batchq.lines import batch_of
from batchq.model import (
    MIB,
    Batch,
    CloseRequest,
    Limits,
    Numbering,
    Pulled,
    PullRequest,
    PushRequest,
)

pytestmark = pytest.mark.timeout(900)
# Hundreds of examples, more slowly beside other programs. A timeout within an example would
# be taken for a failure of that example, and made smaller for minutes.

Totals = tuple[int | None, int | None]
"""Lines and bytes, as a closer counted them."""

QUEUES = ("a", "b")
LIMITS = Limits(
    queue_bytes=24,
    queues=2,
    producers=2,
    leases=3,
    parked_batches=3,
    parked_bytes=16,
    park_seconds=8.0,
    keep_closed=16.0,
    lease_seconds=12.0,
)

SAME: dict[str, tuple[int, int | None, bool]] = {"one": (1, None, True), "two": (3, 0, False)}
"""By lease id: min, how much max is above it, and partial."""

queues = st.sampled_from(QUEUES)
lines = st.sampled_from([b"", b"x", b"yz", b"\r", b"\xff", b"12345"])
bodies = st.lists(lines, max_size=4).map(lambda parts: b"".join(p + b"\n" for p in parts))
batches = bodies.map(batch_of)
waits = st.sampled_from([0.0, 2.0, 5.0, 20.0])
seqs = st.integers(-2, 3)
"""How far from the next one: 0 is next, below is a duplicate, above is ahead."""
pins = st.sampled_from(["none", "none", "none", "current", "old"])
totals = st.sampled_from(["none", "right", "wrong lines", "wrong bytes"])
picks = st.integers(0, 7)


class QueueMachine(RuleBasedStateMachine):
    """Pushes, pulls, leases, closes and time, against the model; queues are soon full.

    Batches don't come ahead of their turn here: when several are stored at once and only
    some have room, how many of them a pull sees that is served in the same moment is free.
    """

    limits: ClassVar = LIMITS
    ahead: ClassVar = False

    def __init__(self) -> None:
        super().__init__()
        self.pair = self.make_pair()
        self.lives: list[tuple[str, str]] = []
        """Queue and id of each life ever seen."""
        self.lease_ids: list[str] = []
        self.contents: dict[tuple[str, Numbering], Batch | Totals] = {}
        """What a producer sends under a number, the same each time; totals are of a close."""

    def make_pair(self) -> Pair:
        return Pair(self.limits)

    # --- choosing

    def _pin(self, queue: str, pin: str, pick: int) -> str | None:
        life = self.pair.model.lives.get(queue)
        if pin == "current" and life is not None:
            return life.id
        old = [i for name, i in self.lives if name == queue and (life is None or i != life.id)]
        return old[-1 - pick % len(old)] if pin == "old" and old else None

    def _leases(self, queue: str, picks_: list[int]) -> tuple[str, ...]:
        life = self.pair.model.lives.get(queue)
        known = [*(life.leases if life else ()), *self.lease_ids[-2:], "unknown"]
        return tuple(dict.fromkeys(known[pick % len(known)] for pick in picks_))

    def _number(self, queue: str, producer: str, epoch: int, seq: int) -> Numbering:
        life = self.pair.model.lives.get(queue)
        state = life.producers.get(producer) if life else None
        force = state.epoch if state else 1
        following = state.seq + 1 if state and epoch == 0 else 0
        return Numbering(producer, max(0, force + epoch), max(0, following + seq))

    def _seen(self, answer: object) -> None:
        if isinstance(answer, Pulled) and answer.lease is not None:
            self.lease_ids.append(answer.lease.id)

    # --- steps

    @rule(queue=queues, batch=batches, wait=waits, pin=pins, pick=picks)
    def push(self, *, queue: str, batch: Batch, wait: float, pin: str, pick: int) -> None:
        self.pair.request(
            PushRequest(queue, batch, queue_id=self._pin(queue, pin, pick), wait=wait)
        )

    @rule(
        queue=queues,
        batch=batches,
        wait=waits,
        producer=st.sampled_from(["p", "q"]),
        epoch=st.sampled_from([0, 0, 0, 0, 1, -1]),
        seq=seqs,
        pin=pins,
        pick=picks,
    )
    def push_numbered(
        self,
        *,
        queue: str,
        batch: Batch,
        wait: float,
        producer: str,
        epoch: int,
        seq: int,
        pin: str,
        pick: int,
    ) -> None:
        number = self._number(queue, producer, epoch, seq if self.ahead else min(seq, 0))
        content = self.contents.setdefault((queue, number), batch)
        if not isinstance(content, Batch):
            return
        self.pair.request(
            PushRequest(
                queue,
                content,
                numbering=number,
                queue_id=self._pin(queue, pin, pick),
                wait=wait,
            )
        )

    @rule(
        queue=queues,
        producer=st.sampled_from(["p", "q"]),
        batch=batches,
        order=st.permutations([0, 1, 2]),
    )
    def push_reordered(self, *, queue: str, producer: str, batch: Batch, order: list[int]) -> None:
        numbers = [self._number(queue, producer, 0, seq) for seq in order]
        for number in numbers:
            if not self.ahead:
                # One that found no room leaves its number to the next.
                number = self._number(queue, producer, 0, 0)  # noqa: PLW2901
            content = self.contents.setdefault((queue, number), batch)
            if not isinstance(content, Batch):
                return
            self.pair.request(PushRequest(queue, content, numbering=number))

    @rule(
        queue=queues,
        low=st.integers(1, 4),
        more=st.sampled_from([None, 0, 1]),
        max_bytes=st.sampled_from([1, 4, 8, 1024, 1024]),
        wait=waits,
        partial=st.booleans(),
        lease=st.sampled_from([None, None, 3.0, 9.0, 100.0]),
        lease_id=st.sampled_from([None, "one", "two"]),
        acks=st.lists(picks, max_size=2),
        pin=pins,
        pick=picks,
        utf8=st.sampled_from([False, False, True]),
    )
    def pull(
        self,
        *,
        queue: str,
        low: int,
        more: int | None,
        max_bytes: int,
        wait: float,
        partial: bool,
        lease: float | None,
        lease_id: str | None,
        acks: list[int],
        pin: str,
        pick: int,
        utf8: bool,
    ) -> None:
        if lease is None or utf8:
            lease_id = None
        if lease_id is not None:  # a retry asks for the same
            low, more, partial = SAME[lease_id]
        answer = self.pair.request(
            PullRequest(
                queue,
                min=low,
                max=None if more is None else low + more,
                max_bytes=max_bytes,
                wait=wait,
                partial=partial,
                lease=lease,
                lease_id=lease_id,
                ack=self._leases(queue, acks),
                queue_id=self._pin(queue, pin, pick),
                utf8=utf8,
            )
        )
        self._seen(answer)

    @precondition(lambda self: self.pair.waiting())
    @rule(pick=picks)
    def cancel(self, *, pick: int) -> None:
        waiting = self.pair.waiting()
        self.pair.cancel(waiting[pick % len(waiting)])

    @precondition(lambda self: self.pair.at_once)
    @rule(
        queue=queues,
        lease=st.sampled_from([None, None, 9.0]),
        lease_id=st.sampled_from([None, "one"]),
        pick=picks,
        batch=batches,
        close=st.sampled_from([False, False, False, True]),
    )
    def cancel_as_it_is_answered(
        self,
        *,
        queue: str,
        lease: float | None,
        lease_id: str | None,
        pick: int,
        batch: Batch,
        close: bool,
    ) -> None:
        if lease is None:
            lease_id = None
        waits = PullRequest(queue, min=SAME["one"][0], wait=20.0, lease=lease, lease_id=lease_id)
        self._seen(self.pair.request(waits))
        pulls = self.pair.waiting_pulls()
        if pulls:
            leaving, queue = pulls[pick % len(pulls)]
            request = CloseRequest(queue) if close else PushRequest(queue, batch)
            self.pair.request(request, leaving)

    @precondition(lambda self: any(life.leases for life in self.pair.model.lives.values()))
    @rule(
        verb=st.sampled_from(["ack", "ack", "release", "extend"]),
        queue=queues,
        which=st.lists(picks, min_size=1, max_size=2),
        seconds=st.sampled_from([1.0, 6.0, 100.0]),
        pin=pins,
        pick=picks,
    )
    def leases(
        self, *, verb: Verb, queue: str, which: list[int], seconds: float, pin: str, pick: int
    ) -> None:
        self.pair.leases(
            verb, queue, self._leases(queue, which), seconds, self._pin(queue, pin, pick)
        )

    def _totals(self, queue: str, what: str) -> Totals:
        life = self.pair.model.lives.get(queue)
        lines_, bytes_ = (len(life.lines), life.total_bytes) if life else (0, 0)
        if what == "none":
            return None, None
        return lines_ + (what == "wrong lines"), bytes_ + (what == "wrong bytes")

    @rule(
        queue=queues,
        what=totals,
        digest=st.sampled_from([None, "xxh3-128:" + "0" * 32]),
        unterminated=st.booleans(),
        pin=pins,
        pick=picks,
    )
    def close(
        self, *, queue: str, what: str, digest: str | None, unterminated: bool, pin: str, pick: int
    ) -> None:
        count, size = self._totals(queue, what)
        pinned = self._pin(queue, pin, pick)
        self.pair.request(CloseRequest(queue, count, size, digest, unterminated, queue_id=pinned))

    @rule(
        queue=queues,
        what=totals,
        producer=st.sampled_from(["p", "q"]),
        epoch=st.sampled_from([0, 0, 0, 1, -1]),
        seq=st.integers(0, 2),
        again=st.booleans(),
        pin=pins,
        pick=picks,
    )
    def close_numbered(
        self,
        *,
        queue: str,
        what: str,
        producer: str,
        epoch: int,
        seq: int,
        again: bool,
        pin: str,
        pick: int,
    ) -> None:
        pinned = self._pin(queue, pin, pick)
        number = self._number(queue, producer, epoch, seq)
        life = self.pair.model.lives.get(queue)
        closed = life.closed if life else None
        if again and closed is not None and closed.numbering is not None:
            number = closed.numbering
        content = self.contents.setdefault((queue, number), self._totals(queue, what))
        if isinstance(content, Batch):
            return
        count, size = content
        self.pair.request(CloseRequest(queue, count, size, numbering=number, queue_id=pinned))

    @rule(queue=queues, pin=pins, pick=picks)
    def delete(self, *, queue: str, pin: str, pick: int) -> None:
        self.pair.delete(queue, self._pin(queue, pin, pick))

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 8.0, 20.0]))
    def time_passes(self, *, seconds: float) -> None:
        self.pair.advance(seconds)

    # --- what always holds

    @invariant()
    def statistics_agree(self) -> None:
        for queue in QUEUES:
            stats = self.pair.stats(queue)
            life = self.pair.model.lives.get(queue)
            if stats is None or life is None:
                continue
            if (queue, life.id) not in self.lives:
                self.lives.append((queue, life.id))
            done = len(life.in_state("done"))
            assert stats.lines == stats.ready_lines + stats.leased_lines + done
            assert stats.drained == (stats.closed and stats.stored_bytes == 0)
            if stats.ready_lines == stats.leased_lines == 0:
                assert stats.stored_bytes == 0

    def teardown(self) -> None:
        self.pair.close()


class RoomyMachine(QueueMachine):
    """The same where no queue is ever full; batches come ahead of their turn and reordered."""

    limits: ClassVar = replace(LIMITS, queue_bytes=MIB)
    ahead: ClassVar = True


TestQueueMachine = QueueMachine.TestCase
TestRoomyMachine = RoomyMachine.TestCase
