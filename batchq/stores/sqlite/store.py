"""The store in a SQLite file: the broker's rules, made durable by a writer thread."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import apsw

from batchq.broker import Change, Load
from batchq.errors import DiskFull, QueueReplaced, ShuttingDown, StoreUnavailable
from batchq.model import (
    MIB,
    CloseRequest,
    End,
    Limits,
    Promise,
    PullAnswer,
    PullRequest,
    Pushed,
    PushRequest,
)
from batchq.stores.local import LocalStore
from batchq.stores.sqlite.admission import Admission, longest_line
from batchq.stores.sqlite.database import Place, open_for_reading, open_for_writing
from batchq.stores.sqlite.errors import Corrupt, disk_full, failed
from batchq.stores.sqlite.lines_file import LinesFile, sync_if_there
from batchq.stores.sqlite.loader import Loader, Pieces, kept, read_segments
from batchq.stores.sqlite.lock import Lock, real_path
from batchq.stores.sqlite.records import check_form, read_rows
from batchq.stores.sqlite.rows import LifeRows
from batchq.stores.sqlite.schema import MAX_QUEUES
from batchq.stores.sqlite.space import Reserve
from batchq.stores.sqlite.transaction import Lines
from batchq.stores.sqlite.writer import Told, Writer

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How the file is kept.

    Attributes:
        fsync: ``always``: a push is on the disk when it is answered; ``interval``: within
            ``sync_seconds`` of that.
        sync_seconds: seconds between syncs for ``interval``.
        min_free: bytes of the disk that pushes leave free.
        memory: payload bytes that stay in memory for readers; at least 16 MiB.
        vfs: the SQLite VFS to use; the platform's unless given.
    """

    fsync: Literal["always", "interval"] = "always"
    sync_seconds: float = 1.0
    min_free: int = 64 * MIB
    memory: int = 128 * MIB
    vfs: str | None = None


@contextmanager
def _no_collections() -> Iterator[None]:
    """Lets objects be made that all stay: to look through them again costs half the start."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class SqliteStore(LocalStore):
    """Queues in a SQLite file. See ``batchq.stores.base.Store``.

    Args:
        path: the file; it is created, with its directory, if need be.
        limits: how much may be held.
        options: how the file is kept.
        clock: seconds, for deadlines; the event loop's clock unless given.
        new_id: makes random ids; 128 random bits unless given.
        wall: Unix time, for what outlasts the process; the system's clock unless given.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        limits: Limits | None = None,
        options: Options | None = None,
        *,
        clock: Callable[[], float] | None = None,
        new_id: Callable[[], str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._options = options or Options()
        self._limits = limits or Limits()
        memory = max(self._options.memory, 16 * MIB)
        super().__init__(self._limits, clock=clock, new_id=new_id, memory=memory)
        self.path = real_path(path)
        self._place = Place(self.path, self._options.vfs)
        self._wall = wall
        self._reserve = Reserve(self.path, self._options.min_free)
        self._failure: StoreUnavailable | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: Lock | None = None
        self._admission: Admission | None = None
        self._writer: Writer | None = None
        self._loader: Loader | None = None
        self._file: LinesFile | None = None
        self._closing = False
        self._written: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[Exception | None] | None = None
        self._reading_ended: asyncio.Future[None] | None = None

    @property
    def promise(self) -> Promise:
        """What a push that returned survives."""
        if self._options.fsync == "always":
            return Promise(
                "disk", f"queues are in {self.path}, on the disk before a push is answered"
            )
        return Promise(
            "disk-relaxed",
            f"queues are in {self.path}: a crash of the server loses nothing, a power loss up to "
            f"{self._options.sync_seconds:g} s of what was answered",
        )

    def failure(self) -> str | None:
        """Tells why the store can't serve, or None."""
        return self._failure.detail if self._failure is not None else None

    # Begin and end

    async def start(self) -> None:
        """Opens the file; see the contract."""
        self._loop = loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._reading_ended = loop.create_future()
        if self._limits.queues > MAX_QUEUES:
            raise StoreUnavailable(
                f"--max-queues is {self._limits.queues}; a SQLite store holds at most {MAX_QUEUES}"
            )
        try:
            await loop.run_in_executor(None, self._open)
        except BaseException:
            self._release()
            raise
        self._flush()

    def _open(self) -> None:
        """Opens the file and takes over what is in it. Nobody uses the broker yet."""
        place, options = self._place, self._options
        self._lock = Lock(self.path)
        connection = open_for_writing(place, full_sync=options.fsync == "always")
        try:
            with _no_collections():
                rows = self._take_over(connection)
            self._file = LinesFile(self.path, write=True)
            # A process that was killed may have left commits that are not on the disk yet, and
            # what they removed is overwritten now.
            sync_if_there(f"{self.path}-wal")
            segments = read_segments(connection, self._file)
            reading = open_for_reading(place)
        except (apsw.Error, Corrupt) as error:
            connection.close(True)
            raise failed(self.path, error) from error
        except StoreUnavailable:
            connection.close(True)
            raise
        longest = longest_line(connection)
        self._admission = Admission(self.path, self._reserve, rows, longest)
        lines = Lines(self._file, segments, used=options.fsync == "always")
        told = Told(
            committed=self._tell(self._committed),
            full=self._tell(self._full),
            failed=self._tell(self._fail),
            ended=self._tell(self._writer_ended),
        )
        every = None if options.fsync == "always" else options.sync_seconds
        self._writer = Writer(connection, rows, self._reserve, lines, told, self._wall, every)
        self._loader = Loader(
            reading,
            self._file,
            rows,
            loaded=self._tell(self._loaded),
            failed=self._tell(self._fail),
            ended=self._tell(self._loader_ended),
        )
        self._writer.start()
        self._loader.start()

    def _take_over(self, connection: apsw.Connection) -> LifeRows:
        check_form(connection)
        rows, producers = read_rows(connection)
        now, keep = self._wall(), self._limits.keep_closed
        lives = []
        for row in rows.by_queue_id.values():
            # A clock that was set back must not keep a name longer than a whole period.
            age = max(0.0, now - row.ended_at) if row.ended_at is not None else 0.0
            lives.append(kept(row, producers.get(row.id, {}), max(0.0, keep - age)))
        self._broker.restore(self._now_at_start(), lives)
        return rows

    def _now_at_start(self) -> float:
        if self._clock is not None:
            return self._clock()
        return self._loop.time() if self._loop is not None else 0.0

    async def stop(self) -> None:
        """Closes the store; see the contract."""
        await self._end(clean=True)

    async def _end(self, *, clean: bool) -> None:
        writer, loader = self._writer, self._loader
        ended, reading_ended = self._ended, self._reading_ended
        self._loader = None
        if writer is None or loader is None or ended is None or reading_ended is None:
            if not self._closing:
                self._release()
            return
        self._closing = True
        self._broker.drain()
        self._flush()
        if clean:
            await self._all_written()
        self._writer = None
        self._disarm()
        writer.stop(clean=clean)
        loader.stop()
        await ended
        await reading_ended
        self._disarm()
        self._broker.fail(self._now(), StoreUnavailable("the store is closed"))
        self._flush()
        self._disarm()
        self._release()

    async def _all_written(self) -> None:
        """Returns when all that was decided is written, and what that brings about.

        A pull that is cancelled meanwhile may yet have lines to put back.
        """
        while self._broker.pending and self._failure is None:
            self._written = asyncio.get_running_loop().create_future()
            await self._written

    @property
    def tidy(self) -> bool:
        """All that was decided is written, and nothing is left to tidy up in the file."""
        return not self._broker.pending and (self._writer is None or self._writer.idle)

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # Verbs that need a store that works

    async def push(self, request: PushRequest) -> Pushed:
        """Appends a batch: see the contract."""
        self._check()
        try:
            life = self._broker.staged(request.queue, request.queue_id)
        except QueueReplaced:
            return await super().push(request)
        if self._admission is not None:
            self._admission.push(life, request, self._broker.pending)
        return await super().push(request)

    async def close(self, request: CloseRequest) -> End:
        """Closes a queue: see the contract."""
        self._check()
        with suppress(QueueReplaced):
            life = self._broker.staged(request.queue, request.queue_id)
            if life is None and self._admission is not None:
                self._admission.new_life(self._broker.pending)
        return await super().close(request)

    async def pull(self, request: PullRequest) -> PullAnswer:
        """Takes a batch: see the contract."""
        self._check()
        return await super().pull(request)

    async def ack(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Is done with leased lines: see the contract."""
        self._check()
        return await super().ack(queue, leases, queue_id)

    async def release(self, queue: str, leases: Sequence[str], queue_id: str | None) -> str:
        """Puts leased lines back: see the contract."""
        self._check()
        return await super().release(queue, leases, queue_id)

    async def extend(
        self, queue: str, leases: Sequence[str], seconds: float, queue_id: str | None
    ) -> str:
        """Sets when leases end: see the contract."""
        self._check()
        return await super().extend(queue, leases, seconds, queue_id)

    async def delete(self, queue: str, queue_id: str | None) -> str:
        """Ends a queue's life: see the contract."""
        self._check()
        return await super().delete(queue, queue_id)

    def _check(self) -> None:
        if self._failure is not None:
            raise StoreUnavailable(self._failure.detail)
        if self._writer is None or self._closing:
            raise ShuttingDown("the store is closed")

    # Between the event loop and the threads

    def _tell(self, call: Callable[..., None]) -> Callable[..., None]:
        """Makes of a method of the event loop one that the threads may call."""

        def tell(*arguments: Any) -> None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(call, *arguments)

        return tell

    def _commit(self, changes: list[Change]) -> None:
        if self._writer is not None and self._failure is None:
            self._writer.put(changes)
        else:
            error = self._failure or StoreUnavailable("the store is closed")
            self._broker.fail(self._now(), error)

    def _flush(self) -> None:
        super()._flush()
        written = self._written
        if written is not None and not written.done() and not self._broker.pending:
            written.set_result(None)
        if self._loader is not None and self._failure is None:
            for load in self._broker.take_loads():
                self._loader.put(load)

    def _committed(self, changes: list[Change]) -> None:
        if self._failure is None and self._writer is not None:
            for change in changes:
                self._applied(change)
            self._flush()

    def _full(self, everything: bool, resume: Callable[[list[Change]], None]) -> None:
        """Goes on without what found no room on the disk."""
        if self._failure is not None or self._writer is None:
            resume([])  # all calls have got their answers, or get them when the writer has ended
            return
        error: DiskFull = disk_full(self.path)
        _log.warning("no room on the disk for %s", self.path)
        resume(self._broker.abort(self._now(), error, everything=everything))
        self._flush()

    def _loaded(self, load: Load, pieces: Pieces) -> None:
        if self._loader is not None:
            self._loader.taken()
        if self._failure is not None:
            return
        if not self._broker.loaded(self._now(), load, pieces):
            self._fail(Corrupt(f"lines of queue {load.life.name!r} are missing"))
        self._flush()

    def _fail(self, error: Exception) -> None:
        """Stops for good: what was decided is taken back, and nothing more is taken."""
        if self._failure is not None:
            return
        self._failure = failed(self.path, error)
        _log.error("%s", self._failure.detail)
        self._broker.fail(self._now(), self._failure)
        self._flush()
        if self._writer is not None:
            self._writer.stop(clean=False)

    def _writer_ended(self, error: Exception | None) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(error)

    def _loader_ended(self) -> None:
        if self._reading_ended is not None and not self._reading_ended.done():
            self._reading_ended.set_result(None)
