"""Queues in Redis (or Valkey): any number of servers share them.

``connect`` knows how to reach it, ``link`` what to do when it is away, ``scripts`` and
``lua/`` the verbs, ``store`` puts them together. The rules are those of
``batchq.broker``; what one server alone knows (who waits, in which order, what is
parked) stays in that server, see ``slots``.
"""

from batchq.stores.redis.connect import BadUrl, Options
from batchq.stores.redis.store import RedisStore

__all__ = ["BadUrl", "Options", "RedisStore"]
