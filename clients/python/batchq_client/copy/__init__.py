"""The copy engine: files, pipes and queues, line by line and byte for byte.

- ``addresses`` and ``checks`` read the two sides and refuse what can't work;
- ``source`` and ``sink`` are local sides, ``writer`` and ``reader`` are queues;
- ``jobs`` puts two sides together, ``through`` copies locally through a server;
- ``outcome`` is how it ends: exit codes, errors, the summary.

It prints nothing and knows no signals: both are the command's.
"""

from batchq_client.copy.addresses import (
    Address,
    PathAddress,
    QueueAddress,
    StandardStream,
    parse_address,
    queue_at,
)
from batchq_client.copy.checks import check_sides
from batchq_client.copy.jobs import read_queue, relay, write_queue
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import EXIT_CODES, CopyError, Progress, Summary, UsageError
from batchq_client.copy.through import copy_through

__all__ = [
    "EXIT_CODES",
    "Address",
    "CopyError",
    "CopyOptions",
    "PathAddress",
    "Progress",
    "QueueAddress",
    "StandardStream",
    "Summary",
    "UsageError",
    "check_sides",
    "copy_through",
    "parse_address",
    "queue_at",
    "read_queue",
    "relay",
    "write_queue",
]
