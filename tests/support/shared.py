"""Work that goes on over two batchq servers on one Redis, while something happens to it."""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final, Self

import httpx
from faults.peers import Reader, Writer, patient_client
from support.accounting import Account, Report
from support.copies import start
from support.stream import assert_identical, digest_of

_SECONDS: Final = 90.0
_FLAGS: Final = ("--batch-bytes", "8KiB", "--lease", "5", "--wait", "1", "--retries", "200")


class Copies:
    """A file copied into a queue through one server and out of it through another.

    Args:
        into: the URL of the server that the writer talks to.
        out: the reader's.
        folder: for the two files.
        flags: of both commands, beside small batches and short waits.
        lines: how many there are; the last one lacks its end.

    Attributes:
        total: lines in all.
        writer, reader: the processes.
    """

    def __init__(
        self, into: str, out: str, folder: Path, *flags: str, lines: int = 200_000
    ) -> None:
        self._urls = (into, out)
        self._source, self._target = folder / "source", folder / "target"
        with self._source.open("wb") as file:
            file.writelines(b"%07d of a file\n" % number for number in range(lines))
            file.write(b"end")
        self.total = lines + 1
        self._flags = (*_FLAGS, *flags)
        self.writer = start("copy", *self._flags, self._source, f"{into}/q")
        self.reader = start("copy", *self._flags, f"{out}/q", self._target)

    def wait_for(self, fraction: float) -> None:
        """Waits until so much of the file has come to the queue."""
        give_up = time.monotonic() + _SECONDS
        while time.monotonic() < give_up:
            for url in self._urls:
                if self._lines(url) >= fraction * self.total:
                    return
            time.sleep(0.01)
        raise TimeoutError(f"{fraction:.0%} of the file did not come in {_SECONDS:g} s")

    def resumed(self) -> None:
        """Starts again, with ``--resume``, the side that was killed."""
        into, out = self._urls
        if self.writer.poll() is not None:
            self.writer = start("copy", *self._flags, "--resume", self._source, f"{into}/q")
        if self.reader.poll() is not None:
            self.reader = start("copy", *self._flags, "--resume", f"{out}/q", self._target)

    @property
    def running(self) -> bool:
        """Whether one of the two has work to do yet."""
        return any(side.poll() is None for side in (self.writer, self.reader))

    def ends(self) -> list[tuple[int, str]]:
        """Waits for both; gives their exit codes and what they said."""
        told = []
        try:
            for side in (self.writer, self.reader):
                _, said = side.communicate(timeout=_SECONDS)
                told.append((side.returncode, said.decode()))
        finally:
            self.close()
        return told

    def assert_identical(self) -> None:
        """Waits for both, and compares the files."""
        ends = self.ends()
        assert [code for code, _ in ends] == [0, 0], ends
        assert_identical(self._source, self._target)

    def assert_identical_or_told(self) -> list[str]:
        """Waits for both; a destination that differs must have been told. Gives what was."""
        ends = self.ends()
        errors = [said for code, said in ends if code]
        if not errors:
            assert_identical(self._source, self._target)
        assert all(error.strip() for error in errors), ends
        return errors

    def close(self) -> None:
        """Ends what still runs."""
        for side in (self.writer, self.reader):
            if side.poll() is None:
                side.kill()
            side.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @staticmethod
    def _lines(url: str) -> int:
        try:
            answer = httpx.get(f"{url}/queues/q")
        except httpx.TransportError:
            return 0
        return int(answer.json()["lines"]) if answer.is_success else 0


async def accounted(
    urls: Sequence[str],
    queue: str,
    seed: int,
    harm: Callable[[int], Coroutine[None, None, None]],
    *,
    batches: int = 24,
) -> Report:
    """A writer through the first server and a reader through each, with an account of it all.

    Args:
        urls: of the servers.
        queue: its name.
        seed: of the batches, and of what the readers forget.
        harm: is called with each batch's number before it is sent.

    Returns:
        The account's report, which is clean.
    """
    account, chance = Account(), random.Random(seed)
    data = [
        b"".join(
            f"{seed},{seq},{line},".encode() + chance.randbytes(20).hex().encode() + b"\n"
            for line in range(chance.choice((1, 10, 100, 800)))
        )
        for seq in range(batches)
    ]
    harms: set[asyncio.Task[None]] = set()

    def before(seq: int) -> None:
        harms.add(asyncio.ensure_future(harm(seq)))

    async with asyncio.timeout(_SECONDS), patient_client(urls[0]) as to_write:
        clients = [patient_client(url) for url in urls]
        to_read = [await client.__aenter__() for client in clients]
        try:
            writer = Writer(to_write, account, queue)
            async with asyncio.TaskGroup() as group:
                for number, http in enumerate(to_read):
                    forgets = random.Random(f"{seed} {number}")
                    reader = Reader(http, account, queue, forgets, 0.4, forgetful=0.1)
                    group.create_task(reader.read_all())
                await writer.push_all(data, chance.choice((1, 4, 16)), before)
                closed = await writer.close(
                    len(data), bytes=sum(map(len, data)), digest=digest_of(data)
                )
                assert closed.is_success, closed.text
            await asyncio.gather(*harms)
        finally:
            for client in clients:
                await client.__aexit__(None, None, None)
    report = account.report()
    report.assert_clean()
    assert report.batches == len(data)
    assert report.digest == digest_of(data)
    return report


def killed(process: subprocess.Popen[bytes]) -> None:
    """Kills a process, as a crash would, and waits for its end."""
    process.kill()
    process.communicate()
