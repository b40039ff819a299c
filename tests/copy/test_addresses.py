"""How the two sides are written, and what is refused before anything is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchq_client.copy import (
    PathAddress,
    QueueAddress,
    StandardStream,
    UsageError,
    check_sides,
    parse_address,
    queue_at,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("-", StandardStream()),
        ("a.txt", PathAddress(Path("a.txt"))),
        ("./-", PathAddress(Path("./-"))),
        ("http:/x", PathAddress(Path("http:/x"))),
        ("http://h:8080/q", QueueAddress("http://h:8080", "q")),
        ("https://h/q", QueueAddress("https://h", "q")),
        ("HTTP://h/q", QueueAddress("http://h", "q")),
        ("http://[::1]:80/q", QueueAddress("http://[::1]:80", "q")),
        ("http://h/a/b/q.1-x_y", QueueAddress("http://h/a/b", "q.1-x_y")),
        ("http://h/push", QueueAddress("http://h", "push")),
        ("http://h/pull", QueueAddress("http://h", "pull")),
        ("http://h//q", QueueAddress("http://h", "q")),
    ],
)
def test_addresses(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("ftp://h/q", "ftp://"),
        ("redis://h", "redis://"),
        ("http://h", "names no queue"),
        ("http://h/", "names no queue"),
        ("http://h/a/", "names no queue"),
        ("http:///q", "no host"),
        ("http://h:0/q", "port 0"),
        ("http://h:x/q", "not a URL"),
        ("http://h:99999/q", "not a URL"),
        ("http://h/q?min=1", "no ? and no #"),
        ("http://h/q#x", "no ? and no #"),
        ("http://h/.q", "not a queue's name"),
        ("http://h/" + "q" * 129, "not a queue's name"),
        ("http://h/a%20b", "not a queue's name"),
        ("http://u:secret@h/q", "user name"),
        ("http://h/push/q", "the queue is http://h/q"),
        ("http://h:1/pre/pull/q", "the queue is http://h:1/pre/q"),
        ("a\0b", "NUL"),
    ],
)
def test_what_is_no_address(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        parse_address(text)
    except UsageError:
        return


@pytest.mark.parametrize(("url", "queue"), [("x", "q"), ("ftp://h", "q"), ("http://h", "a/b")])
def test_a_server_and_a_queue(url: str, queue: str) -> None:
    assert queue_at("http://h/p/", "q") == QueueAddress("http://h/p", "q")
    with pytest.raises(UsageError):
        queue_at(url, queue)


def test_what_can_be_seen_to_be_wrong(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"a\n")
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "hard")
    (tmp_path / "x.part").write_bytes(b"")
    queue = QueueAddress("http://h", "q")
    for left, right in (
        (tmp_path / "missing", queue),
        (tmp_path, queue),
        (queue, tmp_path),
        (queue, tmp_path / "no" / "where"),
        (queue, source / "below-a-file"),
        (queue, queue),
        (source, source),
        (source, tmp_path / "link"),
        (tmp_path / "hard", source),
        (tmp_path / "x.part", tmp_path / "x"),
    ):
        sides = [PathAddress(s) if isinstance(s, Path) else s for s in (left, right)]
        with pytest.raises(UsageError):
            check_sides(sides[0], sides[1])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hard", "link", "source", "x.part"]
