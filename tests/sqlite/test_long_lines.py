"""Lines that are longer than a row of the database can hold."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from sqlite.sqlite_support import opened, pull, push

from batchq.errors import TooLarge
from batchq.model import MIB

_ROW = 9 * MIB
"""What a row may have here; SQLite's own limit is 1,000,000,000 bytes."""

_LARGEST = _ROW - 1024


@pytest.fixture(autouse=True)
def _small_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = apsw.Connection

    def limited(*arguments: object, **more: object) -> apsw.Connection:
        connection = opening(*arguments, **more)  # type: ignore[arg-type]
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, _ROW)
        return connection

    monkeypatch.setattr(apsw, "Connection", limited)


async def test_a_line_that_no_row_can_hold_is_refused_alone(path: Path) -> None:
    short = b"a line\n"
    async with opened(path) as store:
        for data in (b"x" * _ROW + b"\n", short * 9 + b"x" * _LARGEST + b"\n" + short):
            with pytest.raises(TooLarge, match=f"up to {_LARGEST} bytes"):
                await push(store, data)
        assert store.failure() is None
        await push(store, short)
        assert (await pull(store)).data == short


async def test_lines_of_that_many_bytes_are_held(path: Path) -> None:
    line = b"x" * (_LARGEST - 1) + b"\n"
    async with opened(path) as store:
        await push(store, b"a line\n" + line * 3)
    async with opened(path) as store:
        assert (await pull(store, max_bytes=5 * _ROW)).data == b"a line\n" + line * 3
