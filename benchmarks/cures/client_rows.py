"""The client's cures, each with the load that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.cures.bench import Bench
from benchmarks.cures.clients import SHORT
from benchmarks.cures.rows import IDLE, SMALL_WINDOWS, STOCK, Row, Sample
from benchmarks.figures import Cure

HTTPX = "stock httpx"


def _row(
    cure: str, figure: str, unit: str, off: str, sample: Sample,
    *, at_most: bool = True, rounds: int = 2,
) -> Row:  # fmt: skip
    return Row(Cure("client", cure, figure, unit, off, at_most), sample, rounds)


def _against(
    server: dict[str, Any] | None, method: str, *, scale: float = 1, **arguments: Any
) -> Sample:
    """Load one server (or none, where the load brings its own) with both clients.

    Args:
        server: Its options.
        method: The load.
        scale: What its figure is multiplied with.
        arguments: The load's.
    """

    def sample(bench: Bench, cured: bool) -> float:
        ports = () if server is None else (bench.server(**server).port,)
        return scale * float(bench.load(method, *ports, stock=not cured, **arguments))

    return sample


def _cutting(bench: Bench, cured: bool) -> float:
    port = bench.server().port
    return float(
        bench.load("upload", port, mib=32, body_kib=32 * 1024, in_flight=1, copying=not cured)
    )


def _frames(bench: Bench, cured: bool) -> float:
    most = 2**20 if cured else 2**14
    return float(bench.load("download", bench.server().port, mib=64, max_frame_size=most))


def _texts(bench: Bench, cured: bool) -> float:
    port = bench.server().port
    return float(bench.load("download_cpu", port, mib=8, texts=not cured))


def _frozen(bench: Bench, cured: bool) -> float:
    return float(bench.load("frozen", bench.server().port, requests=10, asks=cured))


def _after_frozen(bench: Bench, cured: bool) -> float:
    return float(bench.load("after_frozen", bench.server().port, requests=5, doubts=cured))


def rows() -> Iterator[Row]:
    """Give the rows in the order of the page."""
    hundred = {"http2": {"max_concurrent_streams": 100}}
    yield _row(
        "one reader a connection", "a quick request beside five polls of 1 s", "ms", HTTPX,
        _against({}, "beside_polls", polls=5, scale=1e3),
    )  # fmt: skip
    yield _row(
        "RST_STREAM on cancel", "batches taken for nobody after 20 cancelled pulls", "batches",
        HTTPX, _against({"app": "batchq"}, "cancelled_pulls", pulls=20),
    )  # fmt: skip
    yield _row(
        "what is left is acknowledged", "an answer of 1 MiB after 40 that were left (2 s: hung)",
        "ms", HTTPX, _against({}, "abandoned", answers=40, scale=1e3),
    )  # fmt: skip
    yield _row(
        "window is waited for, not read for", "an upload of 1 MiB beside a poll of 1 s", "ms",
        HTTPX, _against({"http2": SMALL_WINDOWS}, "upload_beside_poll", scale=1e3),
    )  # fmt: skip
    yield _row(
        "a deadline a request", "requests failed of 9 beside one that timed out", "requests",
        HTTPX, _against({}, "one_times_out", beside=9),
    )  # fmt: skip
    yield _row(
        "a further connection", "a request while 100 polls of 1 s fill the connection", "ms",
        HTTPX, _against(hundred, "above_limit", limit=100, scale=1e3),
    )  # fmt: skip
    yield _row(
        "bodies framed from where they lie", "upload of one body of 32 MiB", "MB/s",
        "what is left is copied for each frame", _cutting, at_most=False, rounds=5,
    )  # fmt: skip
    yield _row(
        "frames of 1 MiB asked for", "download of 1 MiB answers", "MB/s", "frames of 16 KiB",
        _frames, at_most=False, rounds=5,
    )  # fmt: skip
    yield _row(
        "no text for each frame", "download with stock httpx, the client's CPU for a MiB", "ms",
        "h2's repr of each frame", _texts, rounds=5,
    )  # fmt: skip
    yield _row(
        "GOAWAY stream by stream", "requests failed of 10, half of which are answered",
        "requests", HTTPX, _against(None, "going_away", requests=10),
    )  # fmt: skip
    yield _row(
        "ended connections are noticed", "requests failed of 20 after the server has closed",
        "requests", HTTPX,
        _against(STOCK | {"config": {"keep_alive_timeout": IDLE}}, "stale", clients=20,
                 seconds=2 * IDLE),
    )  # fmt: skip
    yield _row(
        "dead connections are given up", "ten requests on a connection that froze", "s",
        f"no PING, else {2 * SHORT} s: their own 2 s", _frozen, rounds=2,
    )  # fmt: skip
    yield _row(
        "dead connections are passed over", "requests lost of 5, in turn, after one froze",
        "requests", "no doubt after a read timeout", _after_frozen, rounds=2,
    )  # fmt: skip
