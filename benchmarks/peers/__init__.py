"""The contenders, by name."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.peers.ceilings import Append, CeilingC, CeilingPython, Cp
from benchmarks.peers.http import Batchq, BatchqStockClient, Floor, OneLine
from benchmarks.peers.nats import Nats
from benchmarks.peers.redis import RedisBlock, RedisLine, RedisStream

PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        Batchq,
        BatchqStockClient,
        Floor,
        OneLine,
        RedisLine,
        RedisBlock,
        RedisStream,
        Nats,
        CeilingC,
        CeilingPython,
        Append,
        Cp,
    )
}
