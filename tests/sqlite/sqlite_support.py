"""What the tests of the SQLite store share."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import apsw

from batchq.lines import batch_of
from batchq.model import (
    MIB,
    Limits,
    Nothing,
    Numbering,
    Pulled,
    PullRequest,
    Pushed,
    PushRequest,
)
from batchq.stores.sqlite import Options, SqliteStore
from batchq.stores.sqlite.hashes import row_hash

SEED: Final = int(os.environ.get("BATCHQ_TEST_SEED") or datetime.now(UTC).toordinal())
"""What is a sample takes another one each day: the day's number, and it can be given."""


@asynccontextmanager
async def opened(
    path: Path, limits: Limits | None = None, options: Options | None = None, **more: Any
) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, limits, options, **more)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def crashed(path: Path, copy: Path) -> Path:
    """Copies what a process that is killed now leaves behind: the page cache survives it."""
    for suffix in ("", "-wal", "-lines"):
        source = Path(f"{path}{suffix}")
        if source.exists():
            shutil.copyfile(source, f"{copy}{suffix}")
    return copy


def numbered(seq: int, data: bytes, queue: str = "q", epoch: int = 0) -> PushRequest:
    return PushRequest(queue, batch_of(data), Numbering("w", epoch, seq))


async def tidied(store: SqliteStore) -> None:
    """Returns when the store has nothing more to write or to tidy up."""
    while not store.tidy:  # noqa: ASYNC110 - its thread tells nobody
        await asyncio.sleep(0.005)


async def push(store: SqliteStore, data: bytes, queue: str = "q") -> Pushed:
    return await store.push(PushRequest(queue, batch_of(data)))


async def pull(store: SqliteStore, queue: str = "q", **more: Any) -> Pulled:
    answer = await store.pull(PullRequest(queue, **more))
    assert isinstance(answer, Pulled), answer
    return answer


async def pull_all(store: SqliteStore, queue: str = "q", max_bytes: int = MIB) -> bytes:
    """Takes all that is ready, for good."""
    pieces = []
    while not isinstance(
        answer := await store.pull(PullRequest(queue, max_bytes=max_bytes, wait=0)), Nothing
    ):
        assert isinstance(answer, Pulled)
        pieces.append(answer.data)
    return b"".join(pieces)


def change_rows(path: Path, *statements: str) -> None:
    """Changes rows of a store's file as if it had written them so itself."""
    connection = apsw.Connection(str(path))
    connection.create_scalar_function("row_hash", row_hash)
    for statement in statements:
        connection.execute(statement)
    for table in ("life", "producer", "done"):
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        columns = ", ".join(name for name in names if name != "hash")
        connection.execute(f"UPDATE {table} SET hash = row_hash('{table}', {columns})")
    connection.close()


def size_of(path: Path) -> int:
    return path.stat().st_size
