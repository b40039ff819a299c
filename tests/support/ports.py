"""Ports for servers that can't choose one themselves."""

from __future__ import annotations

import random
import socket
from typing import Final

_BUS: Final = 10_000
"""The port of a Redis node's bus, in a cluster, is this far above its own."""

_PORTS: Final = range(12_000, 22_000)
"""Below those that the kernel gives out: a client that retries could meet itself there, and
another connection could come first. Chosen by chance, as tests run side by side."""


def free_port() -> int:
    """A port of the loopback that nothing uses, nor the one of its bus."""
    chance = random.SystemRandom()
    for _ in range(100):
        port = chance.choice(_PORTS)
        try:
            for number in (port, port + _BUS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise RuntimeError("no port is free")
