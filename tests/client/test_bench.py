"""``batchq bench`` and its engine, against real servers."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.copies import batchq, said, start
from support.servers import LocalServer, ServerProcess, serving

from batchq.model import Limits
from batchq_client import Client, ClientError, Pulled, errors
from batchq_client.bench import BenchError, BenchOptions, Figure, measure

SHORT = BenchOptions(batch_bytes=4096, in_flight=3, seconds=0.2)
LINES = 4096 // 21
FIGURES = ["push", "pull", "round trip"]
_SECONDS = 30.0


async def until_a_queue(local: LocalServer) -> str:
    async with asyncio.timeout(_SECONDS):
        while True:
            for found in await local.store.queues():
                return found.queue
            await asyncio.sleep(0.005)


async def test_figures_are_of_what_was_moved_and_nothing_is_left() -> None:
    async with serving() as local:
        report = await measure(local.url, SHORT)
        assert await local.store.queues() == []
    push, pull, trips = report.figures
    assert [figure.name for figure in report.figures] == FIGURES
    assert push.lines == push.requests * LINES
    assert push.bytes == push.lines * 21
    assert 0 < pull.lines <= push.lines
    assert pull.bytes == pull.lines * 21
    assert (trips.requests, trips.bytes) == (2 * trips.lines, 21 * trips.lines)
    assert trips.lines == len(trips.latencies) > 0
    for figure in (push, pull):
        assert len(figure.latencies) == figure.requests
    for figure in report.figures:
        assert 0 < figure.median <= figure.p99 <= max(figure.latencies)
        assert figure.seconds > 0
    assert report.level == "process"


async def test_no_time_at_all_still_gives_each_figure() -> None:
    async with serving() as local:
        report = await measure(local.url, BenchOptions(4096, in_flight=1, seconds=0))
    assert [figure.requests for figure in report.figures] == [1, 1, 2]


async def test_a_server_with_little_room_is_measured_in_rounds() -> None:
    async with serving(limits=Limits(queue_bytes=20_000)) as local:
        report = await measure(local.url, SHORT)
    assert report.figures[1].bytes > 20_000


async def test_a_batch_that_never_fits_is_the_servers_refusal() -> None:
    async with serving(limits=Limits(queue_bytes=1000)) as local:
        with pytest.raises(errors.Refused):
            await measure(local.url, SHORT)
        assert await local.store.queues() == []


async def test_a_measurement_that_is_cancelled_leaves_no_queue() -> None:
    async with serving() as local:
        measuring = asyncio.create_task(measure(local.url, BenchOptions(seconds=60)))
        await until_a_queue(local)
        measuring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await measuring
        assert await local.store.queues() == []


async def test_a_queue_that_somebody_deletes_is_not_made_again() -> None:
    async with serving() as local:
        measuring = asyncio.create_task(measure(local.url, BenchOptions(seconds=60)))
        name = await until_a_queue(local)
        async with Client(local.url) as other:
            await other.delete(name)
        with pytest.raises((errors.QueueReplaced, BenchError)):
            await measuring
        assert await local.store.queues() == []


async def test_lines_that_do_not_come_back_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pull = Client.pull

    async def losing(self: Client, queue: str, **parameters: Any) -> object:
        answer = await pull(self, queue, **parameters)
        if isinstance(answer, Pulled) and answer.lines > 1:
            return await pull(self, queue, **parameters)
        return answer

    monkeypatch.setattr(Client, "pull", losing)
    async with serving() as local:
        with pytest.raises(BenchError, match="came back"):
            # So long that the queue is drained before the time is over.
            await measure(local.url, BenchOptions(batch_bytes=2**24, in_flight=1, seconds=20))


async def test_a_queue_that_can_not_be_deleted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refusing(self: Client, queue: str, **parameters: Any) -> None:
        raise ClientError("not today")

    monkeypatch.setattr(Client, "delete", refusing)
    async with serving() as local:
        with pytest.raises(BenchError, match=r"batchq-bench-\w{16} could not .*: not today"):
            await measure(local.url, SHORT)
        [left] = await local.store.queues()
        assert left.queue.startswith("batchq-bench-")


def test_latencies_are_the_median_and_the_nearest_rank() -> None:
    figure = Figure("push", latencies=[n / 1000 for n in range(200, 0, -1)])
    assert figure.median == pytest.approx(0.1005)
    assert figure.p99 == 0.198
    assert Figure("push", latencies=[0.25]).p99 == 0.25
    assert (Figure("push").median, Figure("push").p99, Figure("push").rate(1)) == (0, 0, 0)


def queues(server: ServerProcess) -> list[str]:
    listed = httpx.get(f"{server.url}/queues").json()["queues"]
    names = [str(queue["queue"]) for queue in listed]
    return [name for name in names if name.startswith("batchq-bench-")]


def test_the_table(server: ServerProcess) -> None:
    done = batchq("bench", server.url, "--seconds", "0.3", "--batch-bytes", "64KiB")
    assert (done.returncode, said(done)) == (0, "")
    head, columns, *rows = done.stdout.decode().splitlines()
    assert head.startswith(f"{server.url} (level process): batches of 65,536 bytes, 4 in flight")
    assert columns.split("  ")[-1] == "p99 ms"
    assert [row[:10].strip() for row in rows] == FIGURES
    assert {len(row) for row in rows} == {len(columns)}
    for row in rows:
        assert all(float(cell.replace(",", "")) >= 0 for cell in row[10:].split())
        assert len(row[10:].split()) == 5


def test_json(server: ServerProcess) -> None:
    done = batchq("bench", server.url, "--json", "--seconds", "0.2", "--in-flight", "2")
    assert (done.returncode, said(done)) == (0, "")
    report = json.loads(done.stdout)
    assert (report["url"], report["in_flight"], report["batch_bytes"]) == (server.url, 2, 2**20)
    assert [figure["name"] for figure in report["figures"]] == FIGURES
    for figure in report["figures"]:
        rate = figure["lines"] / figure["seconds"]
        # The seconds are given to the millisecond.
        assert figure["lines_per_second"] == pytest.approx(rate, rel=0.1)
        assert 0 < figure["latency_median_ms"] <= figure["latency_p99_ms"]
    assert queues(server) == []


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_it_in_one_line_and_the_queue_is_gone(
    make_server: Callable[..., ServerProcess], number: signal.Signals, code: int, text: str
) -> None:
    server = make_server()
    with start("bench", server.url, "--seconds", "20") as process:
        deadline = time.monotonic() + _SECONDS
        while not queues(server):
            assert time.monotonic() < deadline
        process.send_signal(number)
        _, stderr = process.communicate(timeout=_SECONDS)
    assert (process.returncode, stderr.decode()) == (code, f"batchq: {text}\n")
    assert queues(server) == []


def test_a_server_that_is_not_there() -> None:
    done = batchq("bench", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert said(done).startswith("batchq: can't reach http://127.0.0.1:1")


def test_a_path_that_is_no_servers(server: ServerProcess) -> None:
    done = batchq("bench", f"{server.url}/some-queue")
    assert done.returncode == 1
    assert said(done).startswith("batchq: ")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("localhost:8080",),
        ("ftp://h",),
        ("http://h?x=1",),
        ("http://h", "--batch-bytes", "0"),
        ("http://h", "--batch-bytes", "1TiB"),
        ("http://h", "--in-flight", "0"),
        ("http://h", "--in-flight", "65"),
        ("http://h", "--seconds", "-1"),
        ("http://h", "--seconds", "nan"),
        ("http://h", "--seconds", "3601"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = batchq("bench", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr


def test_the_environment_and_help() -> None:
    done = batchq("bench", "http://h", env={"BATCHQ_SECONDS": "soon"})
    assert done.returncode == 2
    assert b"BATCHQ_SECONDS" in done.stderr
    squeezed = " ".join(batchq("bench", "--help").stdout.decode().split())
    for text in ("env var: BATCHQ_BATCH_BYTES; default: 1MiB", "130 interrupted (Ctrl-C)"):
        assert text in squeezed
