"""The driver's object: all loads of the cures."""

from __future__ import annotations

from benchmarks.cures.clients import ClientLoads
from benchmarks.cures.faults import FaultLoads
from benchmarks.cures.guards import GuardLoads
from benchmarks.cures.speed import SpeedLoads


class Load(SpeedLoads, FaultLoads, GuardLoads):
    """The loads on the server's cures."""


class Client(ClientLoads, SpeedLoads):
    """The loads on the client's."""
