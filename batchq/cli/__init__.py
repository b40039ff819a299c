"""The ``batchq`` command: flags in, exit codes out.

Nothing that takes time is imported before ``main`` runs: from then on Ctrl-C ends in one line,
and the standard streams are there.
"""

from __future__ import annotations

from batchq.cli import interrupt, streams


def main() -> int:
    """Runs the command that ``sys.argv`` asks for; gives its exit code."""
    try:
        with interrupt.ending_at_once():
            streams.open_missing()
            from batchq.cli import command  # noqa: PLC0415  it takes time
        code = command.run()
    except KeyboardInterrupt:
        streams.tell(interrupt.TEXT)
        code = interrupt.EXIT_CODE
    streams.flush()
    interrupt.leave_to_system()
    return code
