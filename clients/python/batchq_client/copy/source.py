"""Where a writer's bytes come from: a file, a pipe, a terminal, a device.

Bytes are read, digested and cut on a thread of their own, one read ahead, so that this
goes on while the event loop sends. What comes slowly is given out after a linger.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import xxhash

from batchq_client.copy.addresses import LocalAddress, PathAddress
from batchq_client.copy.limits import LineLimit
from batchq_client.copy.longline import find_long_line, measure_line
from batchq_client.copy.options import CopyOptions
from batchq_client.copy.outcome import CopyError, UsageError
from batchq_client.copy.threads import BlockingThread
from batchq_client.lines import NEWLINE, Cut, LineCutter, LineTooLong

_CHUNK: Final = 1024 * 1024
"""Bytes of one read."""

_SET_PIPE_SIZE: Final[int | None] = getattr(fcntl, "F_SETPIPE_SZ", None)
"""Linux alone can make a pipe larger."""


class Source:
    """A source that is open.

    Args:
        fd: an open descriptor.
        owned: close it at the end.
        name: for messages.
        thread: does the reading.

    Attributes:
        size: bytes from here to the end of a regular file, or None.
        regular: it is a regular file, so that it can be looked through before it is sent.
    """

    def __init__(self, fd: int, name: str, thread: BlockingThread, *, owned: bool) -> None:
        self._fd = fd
        self._name = name
        self._thread = thread
        self._owned = owned
        self._hash = xxhash.xxh3_128()
        self._last: bytes | None = None
        status = os.fstat(fd)
        self.regular = stat.S_ISREG(status.st_mode)
        self.size: int | None = None
        if self.regular:
            self.size = max(0, status.st_size - os.lseek(fd, 0, os.SEEK_CUR))
        elif stat.S_ISFIFO(status.st_mode) and _SET_PIPE_SIZE is not None:
            # Fewer, larger reads; the system may refuse it, and it works without.
            with suppress(OSError):
                fcntl.fcntl(fd, _SET_PIPE_SIZE, _CHUNK)

    @property
    def fd(self) -> int:
        """The descriptor."""
        return self._fd

    @property
    def digest(self) -> str:
        """The digest of all that was read so far."""
        return f"xxh3-128:{self._hash.hexdigest()}"

    async def check(self, limit: LineLimit | None) -> None:
        """Looks a regular file through for a line that is too long.

        Args:
            limit: the server's, or None where it is not known.

        Raises:
            CopyError: there is one; it is named, and nothing was sent.
        """
        if limit is None or not self.regular or (self.size or 0) <= limit.last:
            return
        start = os.lseek(self._fd, 0, os.SEEK_CUR)
        found = await self._thread.submit(
            lambda: find_long_line(self._fd, start, limit.size, limit.last)
        )
        if found is not None:
            raise CopyError(limit.exceeded(self._name, found.line, found.length))

    async def skip(self, size: int, checkpoint: tuple[int, str]) -> None:
        """Reads the beginning, which an earlier writer has sent, for its digest.

        Args:
            size: bytes of it that the queue has, with a newline that was added to the last line.
            checkpoint: bytes that it had at some time, and what their digest was.

        Raises:
            CopyError: it is not what was sent.
        """
        changed = f"{self._name} was changed since its copy began: it can't be gone on with"
        total = self.size or 0
        middle, digest = checkpoint
        if 0 < middle <= size:
            await self._skip(middle)
            if self.digest != digest:
                raise CopyError(changed)
        else:
            middle = 0
        last = await self._skip(min(size, total) - middle)
        whole = last is None or last == NEWLINE
        if size > total + 1 or whole != (size <= total):
            raise CopyError(changed)

    async def _skip(self, size: int) -> bytes | None:
        """Reads so many bytes; gives the last one that was read ever."""

        def read() -> None:
            left = size
            while left > 0:
                piece = os.read(self._fd, min(_CHUNK, left))
                if not piece:
                    break
                self._hash.update(piece)
                self._last = piece[-1:]
                left -= len(piece)

        try:
            await self._thread.submit(read)
        except OSError as error:
            raise CopyError(f"can't read {self._name}: {error.strerror or error}") from error
        return self._last

    async def batches(self, options: CopyOptions, limit: LineLimit | None) -> AsyncIterator[Cut]:
        """Gives the source's batches, in order, to its end.

        Args:
            options: batch size and linger.
            limit: how long a line may be, or None where it is not known.

        Raises:
            CopyError: it can't be read, or a line is too long.
        """
        cutter = LineCutter(options.batch_bytes, None if limit is None else limit.size)
        linger = None if self.regular else options.linger
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        reading = self._thread.submit(self._read)
        while True:
            timeout = None if deadline is None else max(0.0, deadline - loop.time())
            await asyncio.wait((reading,), timeout=timeout)
            if not reading.done():
                deadline = None
                if (flushed := cutter.flush()) is not None:
                    yield flushed
                continue
            piece = self._piece(reading)
            if not piece:
                break
            reading = self._thread.submit(self._read)
            batches = await self._feed(cutter, piece, reading, limit)
            if batches or deadline is None:
                waits = linger is not None and cutter.held
                deadline = loop.time() + linger if waits and linger is not None else None
            for batch in batches:
                yield batch
        if (rest := cutter.finish()) is not None:
            yield rest

    def close(self) -> None:
        """Closes it; a read that is under way is left to itself."""
        self._thread.stop(*([self._fd] if self._owned else ()))

    def _read(self) -> bytes:
        piece = os.read(self._fd, _CHUNK)
        self._hash.update(piece)
        return piece

    def _piece(self, reading: asyncio.Future[bytes]) -> bytes:
        try:
            return reading.result()
        except OSError as error:
            raise CopyError(f"can't read {self._name}: {error.strerror or error}") from error

    async def _feed(
        self,
        cutter: LineCutter,
        piece: bytes,
        ahead: asyncio.Future[bytes],
        limit: LineLimit | None,
    ) -> list[Cut]:
        try:
            return cutter.feed(piece)
        except LineTooLong as error:
            length: int | None = error.held
            if not error.ended:
                length = await self._measure(error.held, ahead)
            if limit is None:
                raise
            raise CopyError(limit.exceeded(self._name, error.line, length)) from None

    async def _measure(self, held: int, ahead: asyncio.Future[bytes]) -> int | None:
        """The whole length of a line of which only the beginning was seen."""
        await asyncio.wait((ahead,))
        piece = self._piece(ahead)
        found = piece.find(NEWLINE)
        if found >= 0:
            return held + found
        return await self._thread.submit(lambda: measure_line(self._fd, held + len(piece)))


async def open_source(address: LocalAddress) -> Source:
    """Opens a source. A named pipe is waited for until somebody writes to it.

    Raises:
        UsageError: it can't be read.
    """
    name = str(address) if isinstance(address, PathAddress) else "standard input"
    thread = BlockingThread("batchq-source")
    try:
        if not isinstance(address, PathAddress):
            return Source(0, name, thread, owned=False)
        path = address.path
        fd = await thread.submit(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return Source(fd, name, thread, owned=True)
    except BaseException as error:
        thread.stop()
        if isinstance(error, OSError):
            raise UsageError(f"can't read {name}: {error.strerror or error}") from error
        raise
