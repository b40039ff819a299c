"""What was sent, what was promised, what arrived: and whether that adds up.

    account = Account()
    account.attempted("w", 0, data)         # before it is pushed
    account.acknowledged("w", 0, offset=0)  # once it was answered 200 or 204
    asked = account.tick()                  # before the pull
    account.delivered(Delivery(offset, position, lines, data, deliveries, lease, asked))
    account.done(lease)                     # once the lease's ack was answered 2xx
    account.report().assert_clean()

What is checked: every acknowledged batch arrived, whole and once; a batch that was
refused did not; one of unknown outcome did or did not, but never leaves a hole before a
later batch of its producer; each producer's batches are in order; offsets and
positions are dense, and a line keeps its own whenever it is delivered; nothing arrives
again by a pull that was sent after its ack was answered; totals and digest are those told.

Where all is well the work is by batch: streams of hundreds of megabytes need no object
a line. Payloads are kept by reference. Batches of different producers are told apart by
their bytes, so their lines should differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from support.stream import Stream, clipped

_SHOWN: Final = 3
"""How many of a kind a message shows."""


class Outcome(Enum):
    """What a writer was told of a batch."""

    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass(slots=True)
class Sent:
    """A batch that was attempted.

    Attributes:
        producer: its writer; one that claims a new epoch counts as another.
        seq: its place among the producer's batches, ascending.
        data: its lines, each with its end.
        outcome: what is known of it.
        offset: where the answer said it is stored, or None.
        position: the same in bytes, or None.
    """

    producer: str
    seq: int
    data: bytes
    outcome: Outcome = Outcome.UNKNOWN
    offset: int | None = None
    position: int | None = None

    def __str__(self) -> str:
        return f"batch {self.seq} of {self.producer!r} ({self.outcome.value}, {len(self.data)} B)"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A pull's answer with lines.

    Attributes:
        offset: of the first line.
        position: of its first byte.
        lines: how many, as told.
        data: the payload.
        deliveries: how often they were handed out, as told.
        lease: the lease that they are out on, or None: done with at once.
        asked: ``Account.tick`` before the pull was sent, or None where nobody noted it.
    """

    offset: int
    position: int
    lines: int
    data: bytes
    deliveries: int = 1
    lease: str | None = None
    asked: int | None = None

    @property
    def end(self) -> int:
        """The offset behind its last line."""
        return self.offset + self.lines

    def __str__(self) -> str:
        return f"offsets {self.offset} to {self.end - 1} (lease {self.lease})"


@dataclass(slots=True)
class Report:
    """How the account stands.

    Attributes:
        lost: acknowledged lines that did not arrive, and those of holes.
        unexpected: lines that arrived and nobody sent, or that were refused.
        duplicated: lines that are there more often than they were sent.
        order: batches that arrived before one that was sent earlier by their producer.
        offsets: what is wrong with offsets and positions.
        redelivered: lines that came again after they were acknowledged.
        totals: what differs from the totals and digest that the end told.
        lines: lines that arrived, each counted once.
        bytes: their bytes.
        digest: ``xxh3-128:<hex>`` of them, in their order.
        repeated: deliveries that held lines which had been delivered before.
        batches: batches that arrived.
        absent: batches of unknown outcome that did not arrive, as they may.
    """

    lost: list[bytes] = field(default_factory=list)
    unexpected: list[bytes] = field(default_factory=list)
    duplicated: list[bytes] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    offsets: list[str] = field(default_factory=list)
    redelivered: list[str] = field(default_factory=list)
    totals: list[str] = field(default_factory=list)
    first_difference: str = ""
    lines: int = 0
    bytes: int = 0
    digest: str = ""
    repeated: int = 0
    batches: int = 0
    absent: int = 0

    @property
    def violations(self) -> dict[str, Sequence[object]]:
        """The kinds of violation that there are, with what they are about."""
        every: dict[str, Sequence[object]] = {
            "lost": self.lost,
            "unexpected": self.unexpected,
            "duplicated": self.duplicated,
            "order": self.order,
            "offsets": self.offsets,
            "redelivered": self.redelivered,
            "totals": self.totals,
        }
        return {name: found for name, found in every.items() if found}

    def assert_clean(self) -> None:
        """Passes where nothing is lost, twice, foreign or out of place.

        Raises:
            AssertionError: with the first difference, and the first few of each kind.
        """
        violations = self.violations
        if not violations:
            return
        parts = [f"the account does not add up: {self.first_difference or 'see below'}"]
        for name, found in violations.items():
            shown = [clipped(one) if isinstance(one, bytes) else one for one in found[:_SHOWN]]
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            parts.append(f"{name} ({len(found)}): {'; '.join(map(str, shown))}{more}")
        raise AssertionError("\n  ".join(parts))


class Account:
    """Keeps what writers and readers saw; see the module."""

    def __init__(self) -> None:
        self._sent: dict[str, dict[int, Sent]] = {}
        self._deliveries: list[Delivery] = []
        self._done: list[tuple[int, Delivery]] = []
        self._by_lease: dict[str, Delivery] = {}
        self._end: tuple[int, int, str | None, bool] | None = None
        self._ticks = 0

    def tick(self) -> int:
        """Marks a moment: later marks are higher."""
        self._ticks += 1
        return self._ticks

    # The writers' side

    def attempted(self, producer: str, seq: int, data: bytes) -> None:
        """A batch is about to be pushed; again is no harm with the same lines.

        Raises:
            ValueError: it was attempted with other lines.
        """
        if data and not data.endswith(b"\n"):
            data += b"\n"
        known = self._sent.setdefault(producer, {}).setdefault(seq, Sent(producer, seq, data))
        if known.data != data:
            raise ValueError(f"{known} was attempted before with other lines")

    def acknowledged(
        self, producer: str, seq: int, *, offset: int | None = None, position: int | None = None
    ) -> None:
        """A batch was answered 200 (with its place) or 204 (a duplicate; without one)."""
        batch = self._sent[producer][seq]
        batch.outcome = Outcome.ACKNOWLEDGED
        batch.offset = batch.offset if offset is None else offset
        batch.position = batch.position if position is None else position

    def refused(self, producer: str, seq: int) -> None:
        """A batch was refused for good, so that it must not be there."""
        self._sent[producer][seq].outcome = Outcome.REFUSED

    def ended(
        self,
        *,
        lines: int,
        bytes: int,  # noqa: A002  the word that Queue-Bytes and the other totals use
        digest: str | None = None,
        unterminated: bool = False,
    ) -> None:
        """The end was told, with the queue's totals."""
        self._end = (lines, bytes, digest, unterminated)

    # The readers' side

    def delivered(self, delivery: Delivery) -> None:
        """Lines arrived."""
        self._deliveries.append(delivery)
        if delivery.lease is None:
            self._done.append((self.tick(), delivery))
        else:
            self._by_lease[delivery.lease] = delivery

    def done(self, lease: str) -> None:
        """The ack of a lease was answered: its lines must never come again."""
        self._done.append((self.tick(), self._by_lease.pop(lease)))

    # The account

    @property
    def sent(self) -> Iterator[Sent]:
        """Every batch that was attempted, in each producer's order."""
        for batches in self._sent.values():
            for seq in sorted(batches):
                yield batches[seq]

    def report(self) -> Report:
        """Casts the account."""
        report = Report()
        stream = Stream(report.offsets)
        for delivery in sorted(self._deliveries, key=lambda one: (one.position, one.offset)):
            report.repeated += stream.add(delivery.offset, delivery.position, delivery)
        report.lines, report.bytes, report.digest = stream.lines, stream.bytes, stream.digest()
        _Matching(report, list(self.sent), stream).match()
        self._check_redelivered(report)
        self._check_totals(report, stream)
        if not report.first_difference and report.violations:
            report.first_difference = str(next(iter(report.violations.values()))[0])
        return report

    def _check_redelivered(self, report: Report) -> None:
        """Finds lines that a later pull got, or that were done with twice."""
        done = sorted(self._done, key=lambda entry: entry[1].offset)
        reached, latest = 0, None
        for _, delivery in done:
            if latest is not None and delivery.offset < reached:
                report.redelivered.append(f"{delivery} acknowledged twice, before as {latest}")
            if delivery.end > reached:
                reached, latest = delivery.end, delivery
        asked = [one for one in self._deliveries if one.asked is not None]
        asked.sort(key=lambda one: one.offset)
        first = 0
        for tick, over in done:
            while first < len(asked) and asked[first].end <= over.offset:
                first += 1
            for later in asked[first:]:
                if later.offset >= over.end:
                    break
                if later.end > over.offset and later.asked is not None and later.asked > tick:
                    report.redelivered.append(f"{later} after the ack of {over}")

    def _check_totals(self, report: Report, stream: Stream) -> None:
        if self._end is None:
            return
        lines, size, digest, unterminated = self._end
        if (lines, size) != (report.lines, report.bytes):
            report.totals.append(
                f"the end told {lines} lines and {size} B, "
                f"{report.lines} lines and {report.bytes} B arrived"
            )
        arrived = stream.digest(unterminated=unterminated)
        if digest is not None and digest != arrived:
            report.totals.append(f"the end told the digest {digest}, what arrived has {arrived}")


class _Matching:
    """Finds the batches in what arrived, and what is left over on both sides."""

    def __init__(self, report: Report, sent: list[Sent], stream: Stream) -> None:
        self._report = report
        self._stream = stream
        self._sent = [batch for batch in sent if batch.data]
        self._queues: dict[str, list[Sent]] = {}
        for batch in self._sent:
            self._queues.setdefault(batch.producer, []).append(batch)
        self._next = dict.fromkeys(self._queues, 0)
        self._found: set[int] = set()
        self._heads: dict[bytes, list[Sent]] | None = None
        self._stray: list[bytes] = []

    def match(self) -> None:
        """Goes through what arrived, batch by batch."""
        at = 0
        while at < self._stream.bytes:
            batch = self._in_order(at) or self._anywhere(at)
            if batch is None:
                line = self._stream.line(at)
                self._differs(at, f"{clipped(line)} begins no batch that may come here")
                self._stray.append(line)
                at += len(line)
            else:
                self._take(batch, at)
                at += len(batch.data)
        self._settle()

    def _in_order(self, at: int) -> Sent | None:
        """The batch here, if it is a producer's next; one that was said to be here first."""
        here: list[tuple[Sent, int]] = []
        for producer, batches in self._queues.items():
            index = self._next[producer]
            while index < len(batches) and batches[index].outcome is Outcome.REFUSED:
                index += 1
            if index < len(batches) and self._stream.has(at, batches[index].data):
                here.append((batches[index], index))
        if not here:
            return None
        batch, index = min(here, key=lambda one: one[0].position != at)
        self._next[batch.producer] = index + 1
        return batch

    def _anywhere(self, at: int) -> Sent | None:
        """The batch here, whichever it is; one that is not there yet before another."""
        if self._heads is None:
            self._heads = {}
            for batch in self._sent:
                self._heads.setdefault(batch.data.partition(b"\n")[0], []).append(batch)
        here = [
            batch
            for batch in self._heads.get(self._stream.line(at)[:-1], ())
            if self._stream.has(at, batch.data)
        ]
        if not here:
            return None
        batch = min(here, key=lambda one: id(one) in self._found)
        batches = self._queues[batch.producer]
        index = batches.index(batch)
        if id(batch) not in self._found and batch.outcome is not Outcome.REFUSED:
            if index < self._next[batch.producer]:
                text = f"{batch} came after a later one"
                self._report.order.append(text)
                self._differs(at, text)
            self._next[batch.producer] = max(self._next[batch.producer], index + 1)
        return batch

    def _take(self, batch: Sent, at: int) -> None:
        if batch.outcome is Outcome.REFUSED:
            self._differs(at, f"{batch} is there")
            self._report.unexpected += batch.data.splitlines(keepends=True)
        elif id(batch) in self._found:
            self._differs(at, f"{batch} is there again")
            self._report.duplicated += _lines(batch.data)
        else:
            self._report.batches += 1
            if batch.position is not None and batch.position != at:
                self._report.offsets.append(
                    f"{batch} was answered position {batch.position}, and is at {at}"
                )
            elif batch.offset is not None and batch.offset != self._stream.offset(at):
                self._report.offsets.append(
                    f"{batch} was answered offset {batch.offset}, and is at "
                    f"{self._stream.offset(at)}"
                )
        self._found.add(id(batch))

    def _settle(self) -> None:
        """Tells apart what was lost, torn, sent by nobody, or there too often."""
        missing = []
        for producer, batches in self._queues.items():
            for index, batch in enumerate(batches):
                if id(batch) in self._found or batch.outcome is Outcome.REFUSED:
                    continue
                if batch.outcome is Outcome.UNKNOWN and index >= self._next[producer]:
                    self._report.absent += 1
                    continue
                missing.append(batch)
        if missing:
            self._differs(self._stream.bytes, f"{missing[0]} is not there")
        lost = Counter(line for batch in missing for line in _lines(batch.data))
        stray = Counter(self._stray)
        self._report.lost += (lost - stray).elements()
        left = stray - lost
        known = set().union(*(left.keys() & set(_lines(batch.data)) for batch in self._sent))
        for line in left.elements():
            (self._report.duplicated if line in known else self._report.unexpected).append(line)
        if stray and not (lost - stray) and not left:
            self._report.order.append(f"the lines of {missing[0]} are torn apart or out of order")

    def _differs(self, at: int, how: str) -> None:
        if not self._report.first_difference:
            offset = self._stream.offset(at)
            self._report.first_difference = f"at offset {offset} (position {at}) {how}"


def _lines(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]
