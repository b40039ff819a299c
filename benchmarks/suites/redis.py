"""The rows of the shared store, measured when a run is told `--store redis`.

One, two and three batchq servers work on one redis-server, each with a load of its own; in
the same round two other redis-servers are used as queues directly. Nothing is synced to disk.
All servers share one core and all loads the other: where there are only two, more
servers can't be quicker, and what shows is what sharing costs.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from redis import Redis

from benchmarks.compare import Contender, enter
from benchmarks.context import Context, Failure
from benchmarks.figures import Curve, Growth, Series
from benchmarks.peers.base import Peer
from benchmarks.peers.http import Batchq
from benchmarks.peers.redis import RedisBlock, RedisLine
from benchmarks.stats import paired_ratios

SERVERS = (1, 2, 3)
FIGURES = ("push", "pull")
MEMORY = "memory of a backlog over its payload"
MEMORY_ROUNDS = 3
DIRECT: tuple[type[Peer], ...] = (RedisLine, RedisBlock)


class SharedBatchq(Batchq):
    """A batchq server among others on one Redis."""

    name = "batchq, Redis"
    about = "batchq server on a redis-server, batchq client"

    def fresh(self) -> str:
        """Give a name for a queue that no other server's load uses either."""
        return f"{super().fresh()}-{self.port}"


@dataclass(slots=True)
class Group:
    """Servers that work at the same time.

    Attributes:
        members: Each server with its load.
        rates: Lines/s of all together by figure, one value a round.
    """

    members: list[Contender]
    rates: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})

    @property
    def name(self) -> str:
        """What figures call it."""
        number = len(self.members)
        return f"{SharedBatchq.name}, {number} server{'s' if number > 1 else ''}"

    def round(self, lines: int) -> None:
        """Push and pull about so many lines, shared out among the members."""
        for figure in FIGURES:
            share = {"lines": max(1, lines // len(self.members))} if figure == "push" else {}
            for member in self.members:
                member.driver.send(figure, **share)
            moved = [member.driver.receive(member.patience) for member in self.members]
            seconds = max(1e-9, *(one["seconds"] for one in moved))
            self.rates[figure].append(sum(one["lines"] for one in moved) / seconds)


def run(context: Context) -> None:
    """Measure the rows and the plot, or say why not."""
    if context.store != "redis":
        return
    absent = context.unable() or next((why for peer in DIRECT if (why := peer.missing())), "")
    try:
        if absent:
            raise RuntimeError(absent)
        _measure(context)
    except Failure as error:
        context.note(f"shared: {error}")


def _measure(context: Context) -> None:
    directory = context.directory / "shared"
    with ExitStack() as stack:
        redis = RedisLine.at(directory / "store")
        redis.start()
        stack.callback(redis.stop)
        store = f"redis://127.0.0.1:{redis.port}"
        servers = [
            enter(stack, SharedBatchq(str(directory / f"batchq-{number}"), store=store))
            for number in range(max(SERVERS))
        ]
        direct = [enter(stack, peer.at(directory)) for peer in DIRECT]
        for contender in [*servers, *direct]:
            contender.calibrate(context.seconds)
        groups = [Group(servers[:number]) for number in SERVERS]
        for _ in context.rounds():
            for group in groups:
                group.round(servers[0].lines)
            for contender in direct:
                contender.round()
        context.run.series += _series(groups, direct)
        context.run.series.append(_memory(servers[0], redis.port))
        context.run.growth.append(_growth(groups, servers[0].peer))


def _memory(server: Contender, port: int) -> Series:
    """Measure what a backlog takes of Redis's memory, over its payload."""
    samples = []
    with Redis(port=port) as redis:
        for _ in range(MEMORY_ROUNDS):
            before = redis.info("memory")["used_memory"]
            pushed = server.driver.call("push", server.patience, lines=server.lines)
            samples.append((redis.info("memory")["used_memory"] - before) / pushed["bytes"])
            server.driver.call("pull", server.patience)
    peer = server.peer
    conditions = asdict(peer.conditions) | {"store": "redis:"}
    return Series(f"{SharedBatchq.name}, 1 server", MEMORY, "x", samples, conditions, peer.client)


def _series(groups: list[Group], direct: list[Contender]) -> list[Series]:
    """Give the rates, and what they are of those of redis used directly."""
    found = [series for contender in direct for series in contender.series()]
    for group in groups:
        peer = group.members[0].peer
        conditions = asdict(peer.conditions) | {
            "lines_per_call": peer.lines_per_call,
            "store": "redis:",
            "connections": len(group.members),
        }
        found += [
            Series(
                group.name, figure, "lines/s", rates, conditions, peer.client, peer.about,
                peer.settings,
            )
            for figure, rates in group.rates.items()
        ]  # fmt: skip
        found += [
            Series(
                group.name, f"{figure} over {contender.peer.name}", "x",
                paired_ratios(group.rates[figure], contender.rates[figure]),
                conditions, peer.client,
            )
            for contender in direct
            for figure in FIGURES
        ]  # fmt: skip
    return found


def _growth(groups: list[Group], peer: Peer) -> Growth:
    """Give the plot of speed against the number of servers."""
    curves = [
        Curve(
            figure,
            [(len(group.members), group.rates[figure]) for group in groups],
        )
        for figure in FIGURES
    ]
    return Growth(
        "servers",
        "All servers' speed on one Redis",
        "batchq servers",
        "lines/s, together",
        {"load": peer.conditions.load, "batch_bytes": peer.conditions.batch_bytes},
        peer.client,
        curves,
    )
