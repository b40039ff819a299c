"""Hashes that are kept with what is written: they tell when the file holds something else."""

from __future__ import annotations

import struct
from typing import Final

import xxhash

_SIGN: Final = 1 << 63
"""SQLite's integers are signed."""

_BLOCK: Final = struct.Struct("<qqq")

Value = int | float | str | None


def row_hash(*values: Value) -> int:
    """Gives the hash of a row: of its table's name and its columns.

    The same is a function of SQL. Written so, a row is the same in every version of Python.
    """
    return xxhash.xxh3_64_intdigest(ascii(values).encode()) - _SIGN


def hash_of(data: bytes | memoryview) -> int:
    """Gives the hash of a block's data."""
    return xxhash.xxh3_64_intdigest(data) - _SIGN


def block_hash(number: int, lines: int, position: int, data: bytes | memoryview) -> int:
    """Gives the hash of a block: its columns and its data."""
    columns = xxhash.xxh3_64_intdigest(_BLOCK.pack(number, lines, position))
    return (xxhash.xxh3_64_intdigest(data) ^ columns) - _SIGN


def block_is_sound(number: int, lines: int, position: int, data: bytes, kept: int) -> bool:
    """Tells whether a block is what was written; older formats have hashed its data alone."""
    return kept == block_hash(number, lines, position, data) or kept == hash_of(data)
