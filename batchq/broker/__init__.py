"""The queue's rules, and nothing else: no I/O, no clock, no store.

A verb is called with the time and a ticket. What it decides is collected: ``changes``
that a store has to commit, in order, and ``answers`` for tickets. When a change is
durable, the store says ``applied``, and only then anyone sees it. Waits end by
``tick`` once ``next_deadline`` has come.

    broker.submit(now, ticket, PushRequest(...))
    for change in broker.take_changes():
        ...                                  # make it durable
        broker.applied(now, change)
    for ticket, outcome in broker.take_answers():
        ...

A store that keeps lines elsewhere too bounds those in memory (``memory``), and answers
``take_loads`` with ``loaded``. It says ``abort`` when changes can't be made durable.

``writers``, ``parking``, ``readers`` and ``leases`` hold the rules, ``undo`` and ``restore``
those of failure and of a new start, ``state`` what is remembered, ``log``, ``cache`` and
``ready`` the lines, ``hub`` what all of them share.
"""

from batchq.broker.broker import Broker
from batchq.broker.changes import (
    Append,
    Change,
    Close,
    Consume,
    Delete,
    Forget,
    Load,
    PutBack,
)
from batchq.broker.hub import Outcome
from batchq.broker.log import Point, Span
from batchq.broker.restore import Kept
from batchq.broker.state import Closing, Held, Life, Ticket

__all__ = [
    "Append",
    "Broker",
    "Change",
    "Close",
    "Closing",
    "Consume",
    "Delete",
    "Forget",
    "Held",
    "Kept",
    "Life",
    "Load",
    "Outcome",
    "Point",
    "PutBack",
    "Span",
    "Ticket",
]
