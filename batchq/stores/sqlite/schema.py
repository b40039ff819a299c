"""The file's format: its tables, its version, and how older versions are brought up to it.

A block's id is its life's number and the offset of its first line, so that one tree
finds lines and no index has to be written beside it.

Large blocks are in a file beside the database, ``<path>-lines``; a row tells where.

Points (offset, position) are stored where they can't be computed without reading
payload: at the ends of a life, of a block, and of what is done beyond a life's head.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x62717165
"""Tells our files from others' (``bqqe``); see PRAGMA application_id."""

OFFSET_BITS: Final = 46
"""Bits of a block's id for an offset: 7e13 lines a life, and 131,071 lives at once."""

MAX_OFFSET: Final = (1 << OFFSET_BITS) - 1
MAX_LIVES: Final = (1 << (63 - OFFSET_BITS)) - 1

MAX_QUEUES: Final = 60_000
"""Queues that may be held: there may be as many records of ended ones, and blocks of others that
are still to be removed."""

PAGE_SIZE: Final = 65536

_CREATE: Final = """
CREATE TABLE life (
    id INTEGER PRIMARY KEY,         -- a small number, used anew when all of a life is gone
    name TEXT NOT NULL,             -- the queue's name
    queue_id TEXT NOT NULL UNIQUE,
    head_offset INTEGER NOT NULL,   -- all lines before it are done with
    head_position INTEGER NOT NULL,
    tail_offset INTEGER NOT NULL,   -- where the next line will stand
    tail_position INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    digest TEXT,                    -- the closer's word
    unterminated INTEGER NOT NULL,
    over INTEGER NOT NULL,          -- deleted: only this record is kept
    ended_at REAL                   -- Unix time at which it was drained or deleted
) STRICT;
CREATE TABLE producer (
    life INTEGER NOT NULL,
    name TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (life, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE done (                 -- lines that are done with, beyond the head
    life INTEGER NOT NULL,
    start_offset INTEGER NOT NULL,
    start_position INTEGER NOT NULL,
    end_offset INTEGER NOT NULL,
    end_position INTEGER NOT NULL,
    PRIMARY KEY (life, start_offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE garbage (life INTEGER PRIMARY KEY) STRICT;  -- lives whose blocks are to be removed
CREATE TABLE block (
    id INTEGER PRIMARY KEY,         -- life << 46 | offset of the first line
    lines INTEGER NOT NULL,
    position INTEGER NOT NULL,      -- of the first byte
    hash INTEGER NOT NULL,          -- xxh3-64 of the data, signed
    data BLOB NOT NULL
) STRICT;
CREATE TABLE meta (synced INTEGER NOT NULL) STRICT;  -- counts timed syncs: `--fsync interval`
INSERT INTO meta VALUES (0);
"""

_EXTENTS: Final = """
CREATE TABLE extent (               -- a block in the file of lines; one id is in one table
    id INTEGER PRIMARY KEY,
    lines INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash INTEGER NOT NULL,
    place INTEGER NOT NULL,         -- where its first byte is in that file
    size INTEGER NOT NULL
) STRICT;
"""

_HASHES: Final = """
ALTER TABLE life ADD COLUMN hash INTEGER NOT NULL DEFAULT 0;      -- of the row, see row_hash
ALTER TABLE producer ADD COLUMN hash INTEGER NOT NULL DEFAULT 0;
ALTER TABLE done ADD COLUMN hash INTEGER NOT NULL DEFAULT 0;
UPDATE life SET hash = row_hash('life', id, name, queue_id, head_offset, head_position,
    tail_offset, tail_position, closed, digest, unterminated, over, ended_at);
UPDATE producer SET hash = row_hash('producer', life, name, epoch, seq, lines, bytes);
UPDATE done SET hash =
    row_hash('done', life, start_offset, start_position, end_offset, end_position);
"""
"""Since then a block's hash covers its row too."""

MIGRATIONS: Final[tuple[str, ...]] = (_CREATE, _EXTENTS, _HASHES)
"""What brings a file from each version to the next; an empty file is of version 0."""

FORMAT: Final = len(MIGRATIONS)

WITH_LINES_FILE: Final = 2
"""The first version that has blocks beside the database."""


def block_id(life: int, offset: int) -> int:
    """Gives the id of a block of a life that begins at an offset."""
    return life << OFFSET_BITS | offset
