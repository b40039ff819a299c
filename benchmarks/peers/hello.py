"""A bare ASGI hello on Hypercorn: the most requests a second that the stack gives."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.base import Moved, Peer, python


class Hello(Peer):
    """Answers and does nothing else; it is driven by h2load, so it has no load of its own."""

    name = "bare ASGI hello"
    about = "five bytes from a bare ASGI app on Hypercorn and uvloop, its request cap raised"
    client = "h2load"

    def command(self, port: int) -> Sequence[str]:
        """Give the command that serves."""
        return python("-m", "benchmarks.peers.floor_app", "hello", str(port))

    async def push(self, lines: int) -> Moved:
        """Raise: there is nothing to push to."""
        raise NotImplementedError(lines)
