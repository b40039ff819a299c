"""The Lua scripts, as they are sent to Redis."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """One script.

    Attributes:
        name: for messages.
        text: Lua.
        sha: its SHA-1, by which Redis knows it once it was loaded.
    """

    name: str
    text: bytes
    sha: str


def _load(*parts: str) -> Script:
    folder = files("batchq.stores.redis") / "lua"
    text = b"\n".join((folder / f"{part}.lua").read_bytes() for part in parts)
    return Script(parts[-1], text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


PUSH: Final = _load("prelude", "writers", "push")
CLOSE: Final = _load("prelude", "writers", "close")
PULL: Final = _load("prelude", "pull")
LEASES: Final = _load("prelude", "leases")
DELETE: Final = _load("prelude", "delete")
LOOK: Final = _load("prelude", "look")
SWEEP: Final = _load("sweep")
REGISTER: Final = _load("register")
UNREGISTER: Final = _load("unregister")
KEEP_RECORD: Final = _load("keep_record")

ALL: Final = (
    PUSH, CLOSE, PULL, LEASES, DELETE, LOOK, SWEEP, REGISTER, UNREGISTER, KEEP_RECORD,
)  # fmt: skip
