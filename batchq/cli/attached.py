"""``python -m batchq.cli.attached`` is ``batchq`` for as long as somebody holds its standard input.

Whoever starts it keeps the other end of a pipe, and writes nothing to it. However that process
ends, a kill included, the system closes the pipe.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from batchq.cli import main


def _watch() -> None:
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_watch, name="batchq-attached", daemon=True).start()
    sys.exit(main())
