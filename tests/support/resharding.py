"""A slot of a cluster that is moved to another node, step by step.

What ``redis-cli --cluster reshard`` does, with time to look at it in between.
"""

from __future__ import annotations

from support.redis_servers import Cluster, RedisServer

_SECONDS = 5


class Move:
    """A key's slot on its way; it begins at once.

    Args:
        cluster: where.
        key: one of the slot.

    Attributes:
        source, target: the nodes.
    """

    def __init__(self, cluster: Cluster, key: str) -> None:
        self._cluster = cluster
        self.source = cluster.primary_of(key)
        self.target: RedisServer = next(
            node for node in cluster.nodes[: Cluster.PRIMARIES] if node is not self.source
        )
        self._slot = int(self.source.ask("CLUSTER", "KEYSLOT", key))
        source, self._to = (each.ask("CLUSTER", "MYID") for each in (self.source, self.target))
        self.target.ask("CLUSTER", "SETSLOT", self._slot, "IMPORTING", source)
        self.source.ask("CLUSTER", "SETSLOT", self._slot, "MIGRATING", self._to)

    @property
    def keys(self) -> list[bytes]:
        """Those that are still at the source."""
        keys: list[bytes] = self.source.ask("CLUSTER", "GETKEYSINSLOT", self._slot, 10_000)
        return sorted(keys)

    def take(self, *keys: bytes) -> None:
        """Moves some keys."""
        for key in keys:
            told = self.source.ask(
                "MIGRATE", "127.0.0.1", self.target.port, key, 0, _SECONDS * 1000
            )
            assert told == b"OK", told

    def finish(self) -> None:
        """Moves the rest, and gives the slot to the target."""
        self.take(*self.keys)
        primaries = self._cluster.nodes[: Cluster.PRIMARIES]
        for node in (self.target, self.source, *primaries):
            node.ask("CLUSTER", "SETSLOT", self._slot, "NODE", self._to)
