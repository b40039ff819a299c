r"""xxh3-128 over a source's exact bytes, also where the queue has one ``\n`` too many."""

from __future__ import annotations

from typing import Final

import xxhash

_PREFIX: Final = "xxh3-128:"
_NEWLINE: Final = b"\n"


class PayloadDigest:
    r"""The digest of a payload whose last ``\n`` may turn out not to be the source's.

    That one byte is kept back until it is known.
    """

    __slots__ = ("_hash", "_pending")

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()
        self._pending = b""

    def update(self, data: bytes) -> None:
        r"""Takes whole lines, or the last one without its ``\n``."""
        if not data:
            return
        self._hash.update(self._pending)
        if data.endswith(_NEWLINE):
            self._hash.update(memoryview(data)[:-1])
            self._pending = _NEWLINE
        else:
            self._hash.update(data)
            self._pending = b""

    def copy(self) -> PayloadDigest:
        """One that goes on by itself from here."""
        twin = PayloadDigest()
        twin._hash, twin._pending = self._hash.copy(), self._pending
        return twin

    def text(self, *, unterminated: bool) -> str:
        r"""Gives the digest as the protocol writes it.

        Args:
            unterminated: the source's last line has no ``\n``.
        """
        final = self._hash.copy()
        if not unterminated:
            final.update(self._pending)
        return _PREFIX + final.hexdigest()
