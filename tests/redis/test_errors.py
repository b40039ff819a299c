"""What batchq says of Redis's errors, for those that redis-py makes of what Redis sends."""

from __future__ import annotations

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser
from redis.asyncio.sentinel import MasterNotFoundError
from support.redis_servers import RedisServer, until

from batchq import errors
from batchq.lines import batch_of
from batchq.model import PushRequest
from batchq.stores.redis import RedisStore
from batchq.stores.redis.errors import Meaning, meaning, unavailable

LATER, MOVING, REFUSED = Meaning.NOT_NOW, Meaning.MOVING, Meaning.REFUSED
SENT = {
    "READONLY You can't write against a read only replica.": (LATER, "is a replica"),
    "LOADING Redis is loading the dataset in memory": (LATER, "reads its files"),
    "MASTERDOWN Link with MASTER is down": (LATER, "lost its primary"),
    "CLUSTERDOWN The cluster is down": (LATER, "not in order"),
    "ERR Script attempted to execute a command while the cluster is down": (LATER, "not in order"),
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL": (LATER, "busy"),
    "TRYAGAIN Multiple keys request during rehashing of slot": (MOVING, "being moved"),
    "ASK 3999 127.0.0.1:6381": (MOVING, "being moved"),
    "MOVED 3999 127.0.0.1:6381": (MOVING, "being moved"),
    "ERR Script attempted to access a non local key in a cluster node": (MOVING, "being moved"),
    "OOM command not allowed when used memory > 'maxmemory'.": (REFUSED, "pull what is queued"),
    "NOREPLICAS Not enough good replicas to write.": (REFUSED, "too few replicas"),
    "MISCONF Redis is configured to save RDB snapshots": (REFUSED, "write to its disk"),
    "NOAUTH Authentication required.": (REFUSED, "put it in the URL"),
    "WRONGPASS invalid username-password pair": (REFUSED, "does not know this user"),
    "NOPERM this user has no permissions": (REFUSED, "does not permit"),
}
IN_THE_MIDDLE = "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -{}"
"""As Redis 6 passes on what a script ran into."""


def parsed(sent: str) -> Exception:
    error: Exception = BaseParser.parse_error(sent)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize("sent", SENT)
def test_an_error_is_told_with_its_cure(sent: str) -> None:
    error = parsed(sent)
    wanted, words = SENT[sent]
    assert meaning(error) is wanted
    assert words in unavailable(error).detail


@pytest.mark.parametrize(
    "sent", [sent for sent in SENT if not sent.startswith(("ERR", "ASK", "MOV"))]
)
def test_an_error_within_a_script_is_the_same(sent: str) -> None:
    error = parsed(IN_THE_MIDDLE.format(sent))
    wanted, words = SENT[sent]
    assert meaning(error) is wanted
    assert words in unavailable(error).detail


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("reset"),
        exceptions.TimeoutError("late"),
        exceptions.RedisClusterException("no node"),
        OSError("no route"),
        TimeoutError(),
    ],
)
def test_where_nothing_was_answered_nothing_is_known(error: Exception) -> None:
    assert meaning(error) is Meaning.UNKNOWN
    assert "can't be reached" in unavailable(error).detail


def test_a_call_that_nodes_send_to_each_other_had_no_effect() -> None:
    error = exceptions.ClusterError("TTL exhausted.")
    assert meaning(error) is MOVING
    assert "being moved" in unavailable(error).detail


def test_what_no_sentinel_knows_is_told_without_connections() -> None:
    why = "<Redis(<ConnectionPool(<Connection(host=h)>)>)> - ConnectionError('refused')"
    detail = unavailable(MasterNotFoundError(f"No master found for 'm' : {why}")).detail
    assert "No master found for 'm'" in detail
    assert "Pool" not in detail


async def test_a_replica_takes_no_pushes_and_says_so() -> None:
    with (
        RedisServer(repl_diskless_sync_delay=0) as first,
        RedisServer(repl_diskless_sync_delay=0, replicaof=f"127.0.0.1 {first.port}") as replica,
    ):
        until(lambda: replica.info("replication")["master_link_status"] == "up", "replication")
        store = RedisStore(replica.url)
        await store.start()
        try:
            with pytest.raises(errors.StoreUnavailable, match="this Redis is a replica"):
                await store.push(PushRequest("q", batch_of(b"a\n")))
            assert "this Redis is a replica" in (store.failure() or "")
        finally:
            await store.stop()
