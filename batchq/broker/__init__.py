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

``writers`` and ``readers`` hold the rules, ``state`` what is remembered, ``log`` and
``ready`` the lines, ``hub`` what all of them share.
"""

from batchq.broker.broker import Broker
from batchq.broker.changes import Append, Change, Close, Consume, Delete, Forget
from batchq.broker.hub import Outcome
from batchq.broker.state import Held, Ticket

__all__ = [
    "Append",
    "Broker",
    "Change",
    "Close",
    "Consume",
    "Delete",
    "Forget",
    "Held",
    "Outcome",
    "Ticket",
]
