"""A loop on virtual time that is not idle while a Redis store has something under way."""

from __future__ import annotations

from collections.abc import Callable

from support.clock import VirtualTimeLoop


class BusyLoop(VirtualTimeLoop):
    """``busy`` says whether there is something that ends by itself, in real time."""

    busy: Callable[[], bool] | None = None

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not (self.busy is not None and self.busy())
