"""Each test that README and docs name is there: a page that cites what is gone shows nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PAGES = sorted(
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if re.search(r"\btests?[/_]", page.read_text())
)


@dataclass(frozen=True)
class Cited:
    """A test that a page names.

    Attributes:
        folder: where it is to be, as the page says it or said last, or None.
        file: the file's name, or "" for a folder.
        test: the function's name, or "".
    """

    folder: Path | None
    file: str
    test: str

    @property
    def found(self) -> list[Path]:
        """Where it is."""
        if not self.file:
            return [self.folder] if self.folder is not None and self.folder.exists() else []
        folders = [self.folder] if self.folder is not None else [TESTS]
        paths = [path for folder in folders for path in folder.rglob(self.file)]
        if not self.test:
            return paths
        defined = re.compile(rf"^\s*(?:async )?def {self.test}\(", re.MULTILINE)
        return [path for path in paths if defined.search(path.read_text())]


def cited(text: str) -> Iterator[Cited]:
    """Reads what each paragraph or row names: a bare file is in the folder that it named last."""
    for part in re.split(r"\n\n|\n(?=\|)", text):
        folder: Path | None = None
        for words in re.findall(r"`([^`]+)`", part):
            match = re.fullmatch(r"(tests(?:/\w+)*)?/?(test_\w+\.py)?(?:::(test_\w+))?", words)
            if match is None or not (match[1] or match[2]):
                continue
            if match[1]:
                folder = ROOT / match[1]
            yield Cited(folder, match[2] or "", match[3] or "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_test_that_is_named_exists(page: Path) -> None:
    missing = [one for one in cited(page.read_text()) if not one.found]
    assert not missing


def test_what_is_named_is_read() -> None:
    promises = list(cited((ROOT / "docs/reference/promises.md").read_text()))
    assert len(promises) > 20
    gone = cited(
        "| `tests/http2/test_hostile.py`, `test_names.py`, `test_parts.py::test_no_such` |"
    )
    assert [bool(one.found) for one in gone] == [True, False, False]
