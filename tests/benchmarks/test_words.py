"""What was measured is told by pages that programs write; other pages tell it in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MEASURED = re.compile(r"\d ?(?:x\b|times as\b|%|ms\b|µs\b|[kMG]?B/s|lines/s|requests/s)")


@pytest.mark.parametrize("page", ["how-it-is-fast.md", "reference/cures.md"])
def test_no_figure_is_typed_by_hand(page: str) -> None:
    assert MEASURED.findall((DOCS / page).read_text()) == []
