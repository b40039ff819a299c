"""Queues in a SQLite file: on the disk before a push is answered.

``store`` puts the parts together: ``writer`` commits what the broker decided
(``transaction``, ``rows``), ``loader`` reads, ``upkeep`` and ``space`` see to the file's
size, ``database`` and ``schema`` to its form, ``maintenance`` is for people.
"""

from batchq.stores.sqlite.store import Options, SqliteStore

__all__ = ["Options", "SqliteStore"]
