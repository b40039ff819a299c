"""Many shards behind HAProxy: which shard a queue lives on, and the configuration that says so.

- ``layout`` decides: a queue's slot, a slot's shard, what moves when shards come or go;
- ``front`` is what a configuration is made of;
- ``problems`` are the answers that HAProxy gives by itself;
- ``render`` writes a configuration, ``parse`` reads the layout back from one;
- ``script`` writes the shell script that moves queues.

Nothing here does I/O. A configuration is the only record of a layout: what HAProxy runs and
what the next layout is made from can't differ.
"""

from batchq.haproxy.front import Front, Hold, Shard
from batchq.haproxy.layout import (
    SLOTS,
    Layout,
    LayoutError,
    Move,
    first,
    moved_queues,
    moves,
    rebalanced,
    slot_of,
)
from batchq.haproxy.parse import Found, read
from batchq.haproxy.render import render
from batchq.haproxy.script import Held, script

__all__ = [
    "SLOTS",
    "Found",
    "Front",
    "Held",
    "Hold",
    "Layout",
    "LayoutError",
    "Move",
    "Shard",
    "first",
    "moved_queues",
    "moves",
    "read",
    "rebalanced",
    "render",
    "script",
    "slot_of",
]
