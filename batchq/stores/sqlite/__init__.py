"""Queues in a SQLite file: on the disk before a push is answered.

``store`` puts the parts together: ``writer`` commits what the broker decided
(``transaction``, ``rows``; ``segments`` and ``lines_file`` for large blocks), ``loader``
reads, ``upkeep``, ``spare`` and ``space`` see to the files' size, ``database`` and ``schema``
to their form, ``lock`` to who may have them, ``maintenance`` and ``copies`` are for people.
"""

from batchq.stores.sqlite.store import Options, SqliteStore

__all__ = ["Options", "SqliteStore"]
