"""Where a reader's bytes go: a file that gets its name at the end, or a stream.

A file is written beside its destination, as ``NAME.part``, under a lock, so that two copies
to one place don't mix. What fails leaves the part file and its journal, never the destination.
"""

from __future__ import annotations

import asyncio
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from batchq_client.copy.addresses import LocalAddress, PathAddress
from batchq_client.copy.commits import Mark
from batchq_client.copy.journal import sync_folder
from batchq_client.copy.outcome import BrokenPipe, CopyError, UsageError
from batchq_client.copy.part import Part, journal_of, open_part, part_of
from batchq_client.copy.threads import BlockingThread

_T = TypeVar("_T")

_NEWLINE: Final = b"\n"


class Sink(ABC):
    """A destination that is open. All data is whole lines.

    Args:
        fd: an open descriptor.
        name: for messages.
        thread: does the writing.
    """

    keep_seconds: ClassVar[float]
    """How long a copy that failed waits for ``keep``."""

    def __init__(self, fd: int, name: str, thread: BlockingThread) -> None:
        self._fd = fd
        self._name = name
        self._thread = thread

    @property
    def kept(self) -> Path | None:
        """The part file that a failed copy leaves, if it leaves one."""
        return None

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Writes what comes next.

        Raises:
            CopyError: it can't be written.
        """

    async def secure(self, mark: Mark | None, digest: str) -> None:  # noqa: B027
        """Makes safe what was written: of a stream, nothing more can be done for it.

        Args:
            mark: what that is; None where lines before it are missing.
            digest: over it.

        Raises:
            CopyError: it can't be written.
        """

    async def acknowledged(self) -> None:  # noqa: B027  most have nothing to do
        """The queue is done with what was made safe."""

    @abstractmethod
    async def finish(self, *, unterminated: bool) -> bool:
        r"""Ends a copy that is complete.

        Args:
            unterminated: the source's last line has no ``\n``, so it is taken away again.

        Returns:
            Whether the destination is exact: a ``\n`` may be out already.

        Raises:
            CopyError: it can't be written.
        """

    @abstractmethod
    async def keep(self) -> None:
        """Makes what came so far safe, where that is possible, for a copy that did not end."""

    async def give_up(self) -> None:  # noqa: B027  most keep nothing
        """Notes that a later copy can't go on with what came."""

    @abstractmethod
    def close(self) -> None:
        """Closes it, as it is, once a write that is under way is over."""

    async def _do(self, call: Callable[[], _T]) -> _T:
        return await self._told(self._thread.submit(call))

    async def _told(self, future: asyncio.Future[_T]) -> _T:
        try:
            return await future
        except BrokenPipeError:
            raise BrokenPipe from None
        except OSError as error:
            raise CopyError(f"can't write {self._name}: {error.strerror or error}") from error


class FileSink(Sink):
    """A regular file.

    Args:
        part: the part file; it may hold the beginning.
        path: the destination.
        thread: does the writing.
    """

    keep_seconds = 10.0

    def __init__(self, part: Part, path: Path, thread: BlockingThread) -> None:
        super().__init__(part.fd, str(path), thread)
        self._path = path
        self._part = part
        self._part_path = part_of(path)
        self._size = part.mark.bytes
        self._done = False
        self._whole = True

    @property
    def part(self) -> Part:
        """The part file."""
        return self._part

    @property
    def kept(self) -> Path | None:
        """The part file, where it holds something."""
        return self._part_path if self._size and not self._done else None

    async def write(self, data: bytes) -> None:
        """Writes what comes next to the part file."""
        self._size += len(data)
        await self._do(lambda: _write_all(self._fd, data))

    async def secure(self, mark: Mark | None, digest: str) -> None:
        """Syncs the part file, then the journal that says how much of it is safe."""
        if mark is not None:
            await self._do(lambda: self._part.note(mark, digest))
            return
        if self._whole:
            self._whole = False
            await self._do(lambda: self._part.journal.append({"gaps": True}, sync=True))
        await self._do(lambda: os.fdatasync(self._fd))

    async def finish(self, *, unterminated: bool) -> bool:
        """Makes the part file safe and gives it its name."""
        await self._do(lambda: self._into_place(unterminated=unterminated))
        self._done = True
        return True

    async def keep(self) -> None:
        """Makes the part file safe."""
        await self._do(lambda: os.fsync(self._fd))

    async def give_up(self) -> None:
        """Notes that going on with the part file can't help; the part file stays."""
        await self._do(self._part.journal.remove)

    def close(self) -> None:
        """Closes the part file; one that holds nothing is removed."""
        if not self._size and not self._done:
            with suppress(OSError):
                journal_of(self._path).unlink()
            with suppress(OSError):
                self._part_path.unlink()
        self._thread.submit(self._part.journal.close)
        self._thread.stop(self._fd)

    def _into_place(self, *, unterminated: bool) -> None:
        if unterminated and self._size:
            os.ftruncate(self._fd, self._size - 1)
        with suppress(FileNotFoundError):
            os.fchmod(self._fd, stat.S_IMODE(self._path.stat().st_mode))
        os.fsync(self._fd)
        self._part_path.replace(self._path)
        # A power loss may keep what is done later and lose this; without the journal, a part
        # file could not be gone on with. One that stays beside the destination does no harm.
        sync_folder(self._path.parent)
        self._part.journal.remove()


class StreamSink(Sink):
    r"""A pipe, a terminal, a device: what was written can't be taken back.

    The last ``\n`` of a batch is therefore held until the queue is done with it, and a
    moment longer: if the end follows, it may say that this one was not the source's.

    Args:
        fd: an open descriptor.
        name: for messages.
        thread: does the writing.
        linger: seconds for which the ``\n`` is held.
        owned: close it at the end.
    """

    keep_seconds = 0.5
    """Whoever reads it may read no more: then nothing can be kept."""

    def __init__(
        self, fd: int, name: str, thread: BlockingThread, *, linger: float, owned: bool
    ) -> None:
        super().__init__(fd, name, thread)
        self._linger = linger
        self._owned = owned
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None
        self._letting_go: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        r"""Writes what comes next, and holds its last ``\n``."""
        if not data:
            return
        await self._settle()
        begin, self._held = self._held, _NEWLINE
        await self._do(lambda: _write_all(self._fd, begin, memoryview(data)[:-1]))

    async def acknowledged(self) -> None:
        r"""Lets the ``\n`` that is held go in a moment: the end can follow now."""
        if self._held:
            self._cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._linger, self._let_go)

    async def finish(self, *, unterminated: bool) -> bool:
        r"""Writes the ``\n`` that is held, or drops it where it is not the source's."""
        await self._settle()
        held, self._held = self._held, b""
        exact = not unterminated or bool(held)
        if held and not unterminated:
            await self._do(lambda: _write_all(self._fd, held))
        return exact

    async def keep(self) -> None:
        r"""Writes the ``\n`` that is held: what is out are whole lines."""
        await self.finish(unterminated=False)

    def close(self) -> None:
        """Closes it, unless it is the process's own."""
        self._cancel()
        self._thread.stop(*([self._fd] if self._owned else ()))

    def _let_go(self) -> None:
        held, self._held = self._held, b""
        self._letting_go = self._thread.submit(lambda: _write_all(self._fd, held))

    async def _settle(self) -> None:
        """Stops the clock, and waits for a newline that is on its way."""
        self._cancel()
        if self._letting_go is not None:
            letting_go, self._letting_go = self._letting_go, None
            await self._told(letting_go)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def open_sink(
    address: LocalAddress, linger: float, source: str, *, resume: bool = False
) -> Sink:
    r"""Opens a destination. A named pipe is waited for until somebody reads it.

    Args:
        address: a path or the standard output.
        linger: seconds for which a stream's last ``\n`` is held.
        source: the queue's URL.
        resume: go on with the part file that an earlier copy left.

    Raises:
        UsageError: it can't be written.
        CopyError: what an earlier copy left was changed.
    """
    thread = BlockingThread("batchq-destination")
    try:
        if not isinstance(address, PathAddress):
            os.fstat(1)
            return StreamSink(1, "standard output", thread, linger=linger, owned=False)
        path = real_path(address.path)
        if is_special(path):
            fd = await thread.submit(lambda: os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            return StreamSink(fd, str(address), thread, linger=linger, owned=True)
        part = await thread.submit(lambda: open_part(path, source, resume=resume))
        return FileSink(part, path, thread)
    except BaseException as error:
        thread.stop()
        if isinstance(error, OSError):
            raise UsageError(f"can't write {address}: {error.strerror or error}") from error
        raise


def real_path(path: Path) -> Path:
    """Where a destination really is: a link stays, and what it points to is written."""
    return Path(os.path.realpath(path))


def check_destination(address: PathAddress) -> None:
    """Finds out, without touching anything, whether a destination can't be written.

    Raises:
        UsageError: it can't; the text says why.
    """
    path = real_path(address.path)
    if str(address.path).endswith("/") or path.is_dir():
        raise UsageError(f"{address} is a directory: name a file in it")
    parent = path.parent
    if not parent.is_dir():
        raise UsageError(f"can't write {address}: there is no directory {parent}")
    if is_special(path):
        writable = os.access(path, os.W_OK)
    else:
        writable = os.access(parent, os.W_OK | os.X_OK)
    if not writable:
        raise UsageError(f"can't write {address}: permission denied")


def is_special(path: Path) -> bool:
    """Something with a name that is there and is not a regular file."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _write_all(fd: int, *blocks: bytes | memoryview) -> None:
    for block in blocks:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(fd, rest) :]
