"""The server's cures, each with the load that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import process
from benchmarks.cures.bench import Bench
from benchmarks.cures.rows import IDLE, NEVER, SMALL_WINDOWS, STOCK, Row, Sample
from benchmarks.figures import Cure

MIB = 1024 * 1024
CPU = "the server's CPU for a MiB"
DRAIN = 0.2
"""Seconds that a graceful end is given, where it would have ten."""
QUART_SECONDS = 0.2
"""What Quart's timeouts of a minute are set to, so that a row takes no minutes."""


def _row(
    cure: str, figure: str, unit: str, off: str, sample: Sample,
    *, at_most: bool = False, rounds: int = 5,
) -> Row:  # fmt: skip
    return Row(Cure("server", cure, figure, unit, off, at_most), sample, rounds)


def _with(off: dict[str, Any], method: str, **arguments: Any) -> Sample:
    """Load a server of our own stack, and one with these options for "without"."""

    def sample(bench: Bench, cured: bool) -> float:
        return float(bench.load(method, bench.server(**({} if cured else off)).port, **arguments))

    return sample


def _between(on: dict[str, Any], off: dict[str, Any], method: str, **arguments: Any) -> Sample:
    def sample(bench: Bench, cured: bool) -> float:
        return float(bench.load(method, bench.server(**(on if cured else off)).port, **arguments))

    return sample


def _cpu(on: dict[str, Any], off: dict[str, Any], method: str, mib: int) -> Sample:
    """Take the server's processor time instead, in ms for a MiB: other programs don't add to it."""

    def sample(bench: Bench, cured: bool) -> float:
        server = bench.server(**(on if cured else off))
        before = process.cpu_seconds(server.pid)
        bench.load(method, server.port, mib=mib)
        return (process.cpu_seconds(server.pid) - before) * 1e3 / mib

    return sample


def _fresh(on: dict[str, Any], off: dict[str, Any], method: str, **arguments: Any) -> Sample:
    """The same, each sample on a server of its own whose process id the load is told."""

    def sample(bench: Bench, cured: bool) -> float:
        with bench.fresh(**(on if cured else off)) as server:
            return float(bench.load(method, server.port, pid=server.pid, **arguments))

    return sample


def _turn(stuck: int) -> Sample:
    def sample(bench: Bench, cured: bool) -> float:
        return float(bench.load("turn", stuck=stuck, tree=not cured))

    return sample


def _counting(bench: Bench, cured: bool) -> float:
    return float(bench.load("counting", numpy=cured))


def _peak(on: dict[str, Any], off: dict[str, Any], method: str, mib: int) -> Sample:
    """Take by how many MiB a server's peak of memory grows for one load, from one of 1 MiB on."""

    def sample(bench: Bench, cured: bool) -> float:
        with bench.fresh(**(on if cured else off)) as server:
            bench.load(method, server.port, mib=1)
            before = process.memory_kib(server.pid, "VmHWM")
            bench.load(method, server.port, mib=mib)
            return (process.memory_kib(server.pid, "VmHWM") - before) / 1024

    return sample


def _ending(bench: Bench, cured: bool) -> float:
    if cured:
        started = bench.fresh(app="batchq")
    else:
        started = bench.other("benchmarks.peers.floor_app", "floor")
    with started as server:
        return float(bench.load("ending", server.port, pulls=20, pid=server.pid))


def rows() -> Iterator[Row]:
    """Give the rows in the order of the page."""
    stock = "stock Hypercorn"
    yield _row(
        "windows of megabytes", "upload, 10 ms round trip", "MB/s", "both windows 65,535",
        _with({"http2": SMALL_WINDOWS}, "upload", mib=4, delay=0.005, in_flight=1),
    )  # fmt: skip
    yield _row(
        "windows of megabytes", "upload on loopback", "MB/s", "both windows 65,535",
        _with({"http2": SMALL_WINDOWS}, "upload", mib=64),
    )  # fmt: skip
    yield _row(
        "frames of up to 1 MiB", f"upload, {CPU}", "ms", "frames of 16 KiB",
        _cpu({}, {"http2": {"max_frame_size": 2**14}}, "upload", 128), at_most=True,
    )  # fmt: skip
    yield _row(
        "no text for each frame", f"upload to stock Hypercorn, {CPU}", "ms",
        "h2's repr of each frame",
        _cpu(STOCK | {"turned": ["short-repr"]}, STOCK, "upload", 16), at_most=True,
    )  # fmt: skip
    yield _row(
        "no cap on requests", "answers lost of 99 at the 1,001st request", "answers", stock,
        _with({"stock": True, "config": {"keep_alive_max_requests": 1000}}, "after_many",
              beside=99, cap=1000), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "data after an early answer", "answers lost of 20 beside it", "answers", stock,
        _with(STOCK, "early_answer", beside=20), at_most=True, rounds=2,
    )  # fmt: skip
    small = {"stream_window": MIB, "connection_window": 4 * MIB}
    yield _row(
        "window of dropped DATA given back", "uploads lost of 20 after four refused ones",
        "uploads", "it is kept, connection window of 4 MiB",
        _between({"http2": small}, {"http2": small, "turned": ["forgets-dropped"]},
                 "after_refused", bodies=4, uploads=20), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "a connection is always read", "quick answers lost of 10 beside an unread body",
        "answers", stock, _with(STOCK, "unread", requests=10), at_most=True, rounds=2,
    )  # fmt: skip
    for stuck in (100, 990):
        yield _row(
            "round robin", f"a turn beside {stuck} waiting streams", "µs",
            "the priority tree's next()", _turn(stuck), at_most=True,
        )  # fmt: skip
    yield _row(
        "round robin", "a quick request beside 990 waiting ones", "ms", stock,
        _with(STOCK | {"config": {"h2_max_concurrent_streams": 5000}}, "quick_beside",
              polls=990, times=100), at_most=True, rounds=3,
    )  # fmt: skip
    yield _row(
        "round robin", "answers lost of 1,050 that wait at once", "answers", stock,
        _with(STOCK | {"config": {"h2_max_concurrent_streams": 5000}}, "many_open",
              streams=1050), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "turns whatever the priorities", "of an answer of 8 MiB, ahead of one ranked below it",
        "MiB", stock, _with(STOCK, "ranked_below", mib=8), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "refusal above the stream limit", "answers lost of 100 at the 101st request", "answers",
        stock, _between({"http2": {"max_concurrent_streams": 100}}, STOCK, "above_limit",
                        limit=100), at_most=True, rounds=2,
    )  # fmt: skip
    one = {"max_concurrent_streams": 1, "refusal_rate": 0}
    yield _row(
        "a budget for refusals", "refusals written for 1,000 requests too many, 200 allowed",
        "refusals", "no budget",
        _between({"http2": one | {"refusal_burst": 200}}, {"http2": one}, "refusals",
                 requests=1000), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "a budget for resets", "handlers started by 4,000 requests reset at once, 500 allowed",
        "handlers", "no budget",
        _between({"http2": {"reset_burst": 500}}, {"http2": {"reset_burst": 10**6}}, "resets",
                 requests=4000), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "blocked answers are released", "handlers left over by 20 clients that left", "handlers",
        stock, _with(STOCK, "left_blocked", clients=20), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "a graceful end in time", "SIGTERM to exit with 20 pulls of 3 s waiting", "s",
        "stock Hypercorn and Quart", _ending, at_most=True, rounds=2,
    )  # fmt: skip
    drain = {"app": "batchq", "http2": {"linger": DRAIN, "drain_timeout": DRAIN}}
    yield _row(
        "an end of the graceful end", "SIGTERM to exit beside a body that does not end (2 s: not)",
        "s", f"drain_timeout of a day, else {DRAIN} s",
        _fresh(drain, drain | {"http2": {"linger": DRAIN, "drain_timeout": NEVER}},
               "ending_beside", most=2.0), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "GOAWAY before an idle close", "connections of 20 that end without a word",
        "connections", stock,
        _between({"http2": {"idle_timeout": IDLE}},
                 STOCK | {"config": {"keep_alive_timeout": IDLE}},
                 "idle_closed", clients=20), at_most=True, rounds=2,
    )  # fmt: skip
    # One pair of servers for both rows: each client does what one of the two is for.
    soon = {"ping_interval": IDLE, "ping_timeout": IDLE, "body_timeout": IDLE}
    never = soon | {"ping_timeout": NEVER, "body_timeout": NEVER}
    yield _row(
        "silent clients are asked", "pulls kept of 20 clients that are silent, after 1.5 s",
        "pulls", f"PING's answer is not waited for, else {IDLE} s",
        _between({"http2": soon}, {"http2": never}, "silent", clients=20, seconds=1.5,
                 sends=False), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "an end of bodies that stand still", "bodies kept of 20 that do not go on, after 1.5 s",
        "bodies", f"body_timeout of a day, else {IDLE} s",
        _between({"http2": soon}, {"http2": never}, "silent", clients=20, seconds=1.5,
                 sends=True), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "a limit on field lists", "memory for 100 requests of 1,400 tiny fields", "MiB",
        "limit of 64 KiB",
        _fresh({}, {"http2": {"max_header_list_size": 2**16}}, "header_lists",
               streams=100, fields=1400), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "a cap on connections", "memory for 500 connections, 100 allowed", "MiB", "no cap",
        _fresh({"http2": {"max_connections": 100}}, {}, "many_connections", count=500),
        at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "HTTP/1.1 connections forgotten once gone", "memory for 500 clients that came and went",
        "MiB", stock, _fresh({}, STOCK | {"config": {"keep_alive_timeout": 60}},
                             "gone_over_http1", clients=500), at_most=True, rounds=2,
    )  # fmt: skip
    counted = {"app": "batchq", "limits": {"max_body": MIB}}
    quarts = STOCK | {"app": "quart", "quart": {"MAX_CONTENT_LENGTH": MIB}}
    yield _row(
        "bodies counted as they come", "answers lost of 20 beside a body of 4 MiB, 1 allowed",
        "answers", "stock Hypercorn and Quart (trap of 0.22)",
        _between(counted, quarts, "above_length", limit=MIB, beside=20), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "bodies counted as they come", "taken of a body of 4 MiB, 1 allowed", "MiB",
        "stock Hypercorn and Quart (trap of 0.23)",
        _between(counted, quarts, "taken_above", limit=MIB), at_most=True, rounds=2,
    )  # fmt: skip
    narrow = {"stream_window": MIB // 8}
    yield _row(
        "a budget for incomplete bodies", "memory for 32 bodies of 4 MiB that lack a byte",
        "MiB", "no budget, else 32 MiB",
        _fresh({"http2": narrow | {"inflight_bytes": 32 * MIB}},
               {"http2": narrow | {"inflight_bytes": 2**40}}, "incomplete", bodies=32, mib=4),
        at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "bodies gathered in their pieces", f"upload, {CPU}", "ms",
        "Quart's request on the same stack", _cpu({}, {"app": "quart"}, "upload", 128),
        at_most=True,
    )  # fmt: skip
    yield _row(
        "bodies gathered in their pieces", "peak memory for a body of 64 MiB", "MiB",
        "Quart's request on the same stack", _peak({}, {"app": "quart"}, "unannounced", 64),
        at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "unwanted bodies dropped as they come", "peak memory for a body of 64 MiB to DELETE",
        "MiB", "Quart's body", _peak({"app": "batchq"}, {"app": "batchq", "turned":
        ["keeps-unwanted"]}, "unwanted", 64), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "no RESPONSE_TIMEOUT", "answers cut off of 10 for slow readers", "answers",
        f"Quart's timeout, set to {QUART_SECONDS} s",
        _between({"app": "quart", "quart": {"RESPONSE_TIMEOUT": None}},
                 {"app": "quart", "quart": {"RESPONSE_TIMEOUT": QUART_SECONDS}},
                 "slow_readers", clients=10, seconds=2 * QUART_SECONDS), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "no BODY_TIMEOUT", "pushes refused of 10 that come slowly", "pushes",
        f"Quart's timeout, set to {QUART_SECONDS} s",
        _between({"app": "quart", "quart": {"BODY_TIMEOUT": None}},
                 {"app": "quart", "quart": {"BODY_TIMEOUT": QUART_SECONDS}},
                 "slow_bodies", clients=10, seconds=2 * QUART_SECONDS), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "what is begun is finished", "pushes of 20 left half done by clients that left",
        "pushes", "Quart's request on the same stack",
        _with({"app": "quart"}, "leaving", clients=20), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "reads of 256 KiB", f"upload, {CPU}", "ms", "64 KiB through a stream reader",
        _cpu({}, {"turned": ["through-a-reader"]}, "upload", 128), at_most=True,
    )  # fmt: skip
    yield _row(
        "100 (Continue)", "curl -H 'Expect: 100-continue', one line", "s", stock,
        _with(STOCK, "expecting"), at_most=True, rounds=2,
    )  # fmt: skip
    yield _row(
        "freed memory is kept", f"through a queue, {CPU}", "ms", "glibc's defaults",
        _cpu({"app": "batchq"}, {"app": "batchq", "allocator": False}, "through", 96),
        at_most=True,
    )  # fmt: skip
    yield _row("lines counted with numpy", "1 MiB", "GB/s", "bytes.count", _counting)
    yield _row(
        "lines counted with numpy", f"through a queue, {CPU}", "ms", "bytes.count",
        _cpu({"app": "batchq"}, {"app": "batchq", "turned": ["bytes-count"]}, "through", 96),
        at_most=True,
    )  # fmt: skip
