"""Bulk through a running server: its memory after gigabytes, and curl's upload."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

from benchmarks import loads, process
from benchmarks.context import Context, Failure
from benchmarks.figures import Target, spread
from benchmarks.stats import paired_ratios

AHEAD_BATCHES = 32
UPLOAD_BYTES = 50 * 1000 * 1000
GB = 1000**3


def run(context: Context) -> None:
    """Measure the server's peak memory and curl's upload."""
    amount = context.pick(0.5, 10)
    memory = Target(
        f"server's peak RSS after {amount} GB through a queue whose reader keeps up",
        "MiB", "", 300, 150, at_most=True,
    )  # fmt: skip
    upload = Target(
        "upload of 50 MB with curl --data-binary over HTTP/2", "x", "our client", 0.4, 0.8
    )
    context.run.targets += [memory, upload]
    for target, measure, share in ((memory, _memory, 0.75), (upload, _upload, 1.0)):
        target.why_not = context.unable()
        if not target.why_not:
            try:
                with context.budget.share(share):
                    measure(context, target)
            except Failure as error:
                target.why_not = str(error)


def _memory(context: Context, target: Target) -> None:
    amount = context.pick(0.5, 10) * GB
    lines = int(amount) // (loads.LOADS["short"].line_bytes + 1)
    rates = []
    for number in context.budget.rounds(2, 3):
        # A fresh server each time: a process keeps the peak of its whole life.
        with ExitStack() as stack:
            peer = context.server(stack, f"rss-{number}")
            reader = context.drive(stack, peer)
            moved = reader.driver.call("stream", lines=lines, ahead=AHEAD_BATCHES, timeout=300)
            target.samples.append(process.memory_kib(peer.server_pid, "VmHWM") / 1024)
        rates.append(moved["bytes"] / moved["seconds"] / 1e6)
    target.absolute = (
        f"{amount / GB:.1f} GB at {spread(rates)} MB/s, pushed and pulled at once, "
        f"at most {AHEAD_BATCHES} batches ahead"
    )


def _upload(context: Context, target: Target) -> None:
    path = context.directory / "upload-file"
    load = loads.LOADS["short"]
    path.write_bytes(load.batch(0, UPLOAD_BYTES // (load.line_bytes + 1)).payload)
    lines = UPLOAD_BYTES // (load.line_bytes + 1)
    ours: list[float] = []
    curl: list[float] = []
    with ExitStack() as stack:
        peer = context.server(stack, "upload")
        client = context.drive(stack, peer)
        client.driver.call("push", lines=lines)
        client.driver.call("pull")
        for number in context.rounds():
            ours.append(client.move("push", lines=lines)[0])
            client.driver.call("pull")
            curl.append(
                lines / _curl(f"http://127.0.0.1:{peer.port}/push/curl-{number}", str(path))
            )
    target.samples = paired_ratios(curl, ours)
    target.absolute = f"{spread(curl)} against {spread(ours)} lines/s"


def _curl(url: str, path: str) -> float:
    """Upload a file with curl on the load's core; return the seconds that curl counted."""
    command = ["curl", "--silent", "--show-error", "--fail", "--http2-prior-knowledge"]
    command += ["--output", "/dev/null", "--write-out", "%{time_total}"]
    core = process.core(process.LOAD)
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    run = subprocess.run(
        [*pinned, *command, "--data-binary", f"@{path}", url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if run.returncode:
        raise RuntimeError(f"curl: {run.stderr.strip()}")
    return float(run.stdout)
