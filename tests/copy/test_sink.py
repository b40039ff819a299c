"""Where a reader's bytes go, when nobody takes them any more."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest
from support.clock import VirtualTimeLoop, advance, settle

from batchq_client.copy.jobs import _keep
from batchq_client.copy.sink import StreamSink
from batchq_client.copy.threads import BlockingThread


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    loop = VirtualTimeLoop()
    yield loop
    loop.close()


async def _begun(reads: int) -> None:
    """Returns when something can be read from a pipe."""
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    loop.add_reader(reads, arrived.set_result, None)
    await arrived
    loop.remove_reader(reads)


def test_a_copy_that_ends_does_not_wait_for_who_reads_no_more(loop: VirtualTimeLoop) -> None:
    reads, writes = os.pipe()

    async def ends() -> None:
        thread = BlockingThread("test")
        sink = StreamSink(writes, "a pipe", thread, linger=0.1, owned=True)
        writing = asyncio.create_task(sink.write(b"x" * 10**6 + b"\n"))
        await _begun(reads)
        writing.cancel()
        keeping = asyncio.create_task(_keep(sink, KeyboardInterrupt()))
        await settle()
        assert not keeping.done()
        await advance(0.5)
        assert keeping.done()
        sink.close()

    loop.run_until_complete(ends())
    os.close(reads)


def test_lines_whose_writing_was_cancelled_before_it_began_are_out_whole(
    loop: VirtualTimeLoop,
) -> None:
    reads, writes = os.pipe()

    async def ends() -> None:
        thread, goes_on = BlockingThread("test"), threading.Event()
        sink = StreamSink(writes, "a pipe", thread, linger=0.1, owned=True)
        thread.submit(goes_on.wait)
        writing = asyncio.create_task(sink.write(b"one\n"))
        await settle()
        writing.cancel()
        keeping = asyncio.create_task(_keep(sink, KeyboardInterrupt()))
        await settle()
        goes_on.set()
        await keeping
        sink.close()

    loop.run_until_complete(ends())
    with os.fdopen(reads, "rb") as pipe:
        assert pipe.read() == b"one\n"
