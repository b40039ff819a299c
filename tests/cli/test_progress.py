"""What a copy shows on a terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path
from uuid import uuid4

import pytest
from support.copies import until_filled
from support.servers import ServerProcess
from support.terminal import Terminal

from batchq.cli.progress import shortened

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lines(shown: str) -> list[str]:
    """What stood on the terminal, one picture after the other."""
    return [line for line in re.split(r"[\r\n]+", _CONTROLS.sub("", shown)) if line]


def test_all_figures_fit(server: ServerProcess, tmp_path: Path) -> None:
    into = tmp_path / "a-pipe-with-quite-a-long-name-that-does-not-fit-at-all"
    os.mkfifo(into)
    with (
        Terminal("copy", into, f"{server.url}/{uuid4().hex}") as terminal,
        into.open("wb", buffering=0) as source,
    ):
        source.write(b"0123456\n" * 4096)
        terminal.until(lambda shown: "4,096 lines  " in shown)
        source.close()
        code, shown = terminal.to_end()
    assert code == 0
    picture = next(line for line in lines(shown) if "4,096 lines  " in line)
    assert len(picture) < 80
    assert re.fullmatch(r"\S+…\S+  32\.8 kB  4,096 lines  [0-9,]+ lines/s", picture)


def test_a_local_copy_knows_its_size(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "d"
    os.mkfifo(target)
    source.write_bytes(b"0123456\n" * 1_000_000)
    with Terminal("copy", source, target) as terminal, target.open("rb") as sink:
        taken = len(sink.read(3_000_000))
        # It can't go on: nobody reads.
        shown = terminal.until(lambda shown: re.search(r"/8\.0 MB  .* left", shown))
        while piece := sink.read(65536):
            taken += len(piece)
        code, _ = terminal.to_end()
    assert (code, taken) == (0, 8_000_000)
    picture = next(line for line in reversed(lines(shown)) if " left" in line)
    assert len(picture) < 80
    assert re.search(
        r"  [0-9.]+ [kM]B/8\.0 MB  [0-9,]+ lines  [0-9,]+ lines/s  \d:\d\d:\d\d left$", picture
    )


@pytest.mark.parametrize("name", ["z[/b].txt", "[red]", "a\x1b[2Jb", "é漢字", "\udcff"])
def test_any_name(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / name, tmp_path / "d"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(b"a\nb\n")
    os.mkfifo(target)
    with Terminal("copy", source, target) as terminal:
        terminal.until(lambda shown: "lines/s" in shown)
        with target.open("rb") as sink:
            assert sink.read() == b"a\nb\n"
        code, shown = terminal.to_end()
    assert code == 0
    assert "Traceback" not in shown
    assert "\x1b[2J" not in shown
    assert lines(shown)[-1].startswith("2 lines, 4 bytes in ")


@pytest.mark.parametrize("columns", [1, 20, 40, 79, 200])
def test_any_width(tmp_path: Path, columns: int) -> None:
    into = tmp_path / "in"
    os.mkfifo(into)
    with (
        Terminal("copy", into, tmp_path / "d", columns=columns) as terminal,
        into.open("wb", buffering=0) as source,
    ):
        source.write(b"a\n")
        until_filled(tmp_path / "d.part", terminal.process)
        terminal.until(lambda shown: len(lines(shown)) > 3)
        source.close()
        code, shown = terminal.to_end()
    assert code == 0
    assert all(len(line) <= columns for line in lines(shown)[:-1])


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("short", 5, "short"),
        ("longer", 5, "lo…er"),
        ("longest", 4, "lo…t"),
        ("漢字漢字", 5, "漢…字"),
        ("漢字漢字", 6, "漢 …字"),
        ("a\nb\x1b", 9, "a?b?"),
        ("ab", 1, "…"),
    ],
)
def test_a_title_is_shortened_in_its_middle(text: str, width: int, short: str) -> None:
    assert shortened(text, width) == short
