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


PUSH: Final = _load("guard", "prelude", "writers", "push")
CLOSE: Final = _load("guard", "prelude", "writers", "close")
PULL: Final = _load("guard", "prelude", "pull")
LEASES: Final = _load("guard", "prelude", "leases")
DELETE: Final = _load("guard", "prelude", "delete")
LOOK: Final = _load("guard", "prelude", "look")
SWEEP: Final = _load("guard", "sweep")
REGISTER: Final = _load("register")
UNREGISTER: Final = _load("unregister")
NOTE: Final = _load("note")
KEEP_RECORD: Final = _load("keep_record")
PROBE: Final = _load("guard", "probe")

ALL: Final = (
    PUSH, CLOSE, PULL, LEASES, DELETE, LOOK, SWEEP, REGISTER, UNREGISTER, NOTE,
    KEEP_RECORD,
)  # fmt: skip
