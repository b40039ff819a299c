from __future__ import annotations

import json
import random
import tracemalloc
from contextlib import suppress

import msgpack  # type: ignore[import-untyped]
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import batch_from, body_of, pulled

from batchq.errors import BadRequest, BatchqError, Unprocessable
from batchq.formats import Form, json_lines, msgpack_lines
from batchq.model import MIB, Batch

MSGPACK = "application/msgpack"

LARGE = [
    [""] * 100_000,
    ["a"] * 50_000,
    ['"\\\u20ac\U0001f600\x00' * 30_000],
    ["x" * 40_000, "", "y" * 70_000, "\\" * 100_000, '"' * 33_000, "z"],
    ["\U0001f600" * 9_000] * 10,
    [f"line {number} \t \u00e4" for number in range(20_000)],
]


@pytest.mark.parametrize("lines", LARGE, ids=range(len(LARGE)))
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("around", [("", ""), ('{"offset": 7, "lines": ', ', "lease": null}')])
def test_json_in_many_steps(lines: list[str], ascii_only: bool, around: tuple[str, str]) -> None:
    text = json.dumps(lines, ensure_ascii=ascii_only)
    data = "".join(f"{line}\n" for line in lines).encode()
    for spaced in (text, json.dumps(lines, ensure_ascii=ascii_only, indent=3)):
        body = f" {around[0]}{spaced}{around[1]}\r\n".encode()
        assert batch_from([body], "application/json", "") == Batch(data, len(lines))
    answer = json.loads(body_of(pulled(data), Form.JSON))
    assert answer == {"offset": 7, "position": 99, "lines": lines, "lease": None}


@pytest.mark.parametrize("lines", LARGE, ids=range(len(LARGE)))
def test_msgpack_in_many_steps(lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    for message in (lines, {"offset": 7, "lines": lines, "lease": None}):
        body = msgpack.packb(message)
        assert batch_from([body], "application/msgpack", "") == Batch(data, len(lines))
    answer = msgpack.unpackb(body_of(pulled(data), Form.MSGPACK))
    assert answer["lines"] == [line.encode() for line in lines]


@pytest.mark.parametrize("count", [0, 1, 14, 15, 16, 65_535, 65_536])
def test_msgpack_of_every_size_of_array(count: int) -> None:
    answer = msgpack.unpackb(body_of(pulled(b"\n" * count), Form.MSGPACK))
    assert answer["lines"] == [b""] * count


LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=60)


@given(st.lists(LINE), st.booleans(), st.integers(12, 80), st.sampled_from([None, 0, 1]))
def test_steps_may_end_anywhere(
    lines: list[str], ascii_only: bool, step: int, indent: int | None
) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    text = json.dumps(lines, ensure_ascii=ascii_only, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        for module in (json_lines, msgpack_lines):
            patch.setattr(module, "STEP", step)
            patch.setattr(module, "UNBROKEN", step)
        patch.setattr(msgpack_lines, "_MANY", 3)
        for body, kind in ((text, "application/json"), (msgpack.packb(lines), MSGPACK)):
            assert batch_from([body], kind) == Batch(data, len(lines))
        assert json.loads(body_of(pulled(data), Form.JSON))["lines"] == lines
        packed = msgpack.unpackb(body_of(pulled(data), Form.MSGPACK))["lines"]
        assert packed == [line.encode() for line in lines]


TOKENS = [
    *(bytes([byte]) for byte in b'[]{},:"\\ \n\t0a\x00\x1f\x80\xc3\xff'),
    *(b'"a"', b'"b",', b'"lines"', b'"more": 1,', b"-0.5e3", b"true", b"nul", b"[]", b"{}"),
    *(b"\\n", b"\\u0041", b"\\u000a", b"\\ud83d", b"\\ude00", b"\\u12", b'\\"', b"\\\\"),
    *("\u00e4".encode(), "\U0001f600".encode(), b"\xed\xa0\x80"),
]
LETTERS = ["a", "b", "\\", '"', "\t", "\x00", "/", "\u20ac", "\U0001f600"]
AROUND = [(b"", b""), (b'{"more": 1, "lines": ', b"}"), (b'{"lines":', b', "x": "y"}')]


def lines_of(body: bytes) -> Batch | None:
    """Reads a body as a whole; None where it is no lines."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(message, dict):
        lines = message.pop("lines", None)
        if any(isinstance(value, dict | list) for value in message.values()):
            return None
    else:
        lines = message
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return None
    if any("\n" in line for line in lines):
        return None
    return Batch("".join(f"{line}\n" for line in lines).encode(), len(lines))


def any_text(chance: random.Random) -> bytes:
    """A body of lines, with some mistakes."""
    sizes = chance.choices((0, 1, 3, 20, 60), k=chance.randrange(8))
    lines = ["".join(chance.choices(LETTERS, k=size)) for size in sizes]
    body = json.dumps(
        lines, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, None, 1))
    ).encode()
    body = body.join(chance.choice(AROUND))
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        at, what = chance.randrange(len(body) + 1), chance.random()
        gone = chance.choice((1, 1, 2, 5)) if what < 0.4 else 0
        token = chance.choice(TOKENS) if what > 0.3 else b""
        body = body[:at] + token + body[at + gone :]
    return body


@pytest.mark.parametrize("seed", range(4))
def test_what_steps_take_of_any_text_is_what_one_reading_takes(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    shells = (64, 200, json_lines._SHELL)
    for _ in range(5000):
        body = any_text(chance)
        monkeypatch.setattr(json_lines, "STEP", chance.choice((12, 13, 17, 40, 1000)))
        monkeypatch.setattr(json_lines, "_SHELL", chance.choice(shells))
        try:
            taken = batch_from([body], "application/json")
        except (BadRequest, Unprocessable):
            taken = None
        # A name twice is taken by orjson, and refused here.
        assert taken == lines_of(body) or (taken is None and body.count(b"lines") > 1), body


def test_spaces_between_lines_are_no_part_of_them() -> None:
    wide = b" " * 70_000
    body = wide.join([b"[", b'"a"', b",", b'"b"', b"]"])
    assert batch_from([body[:-1] + b"\n]"], "application/json", "") == Batch(b"a\nb\n", 2)


MANY = '"a",' * 30_000


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (f"[{MANY}]", BadRequest),
        (f"[{MANY}", BadRequest),
        (f"[{MANY},]", BadRequest),
        (f'[{MANY}"a" "b"]', BadRequest),
        (f'[{MANY}"a"}}', BadRequest),
        (f'[{MANY}"a"]]', BadRequest),
        (f'[{MANY}"a"] x', BadRequest),
        (f'[{MANY}"\\x"]', BadRequest),
        (f'[{MANY}"\t"]', BadRequest),
        (f'[{MANY}"{"b" * 99_999}\\u12"]', BadRequest),
        (f'[{MANY}"{"b" * 99_999}\\ud800x"]', BadRequest),
        (f'[{MANY}"{"b" * 99_999}', BadRequest),
        (f'[{MANY}"{"b" * 99_999}" 1]', BadRequest),
        (f'{{"lines": [{MANY}"a"]', BadRequest),
        (f'{{"lines": [{MANY}"a"], }}', BadRequest),
        (f"[{MANY}1]", Unprocessable),
        (f"[{MANY}[]]", Unprocessable),
        (f"[{MANY}{{}}]", Unprocessable),
        (f'[{MANY}"a\\nb"]', Unprocessable),
        (f'[{MANY}"{"b" * 99_999}\\n"]', Unprocessable),
        (f'{{"line": [{MANY}"a"]}}', Unprocessable),
        (f'{{"lines": [{MANY}"a"], "lines": 1}}', Unprocessable),
        (f'{{"lines": [{MANY}"a"], "more": []}}', Unprocessable),
        (f'{{"more": {{}}, "lines": [{MANY}"a"]}}', Unprocessable),
        (f'{{"lines": ["a"], "more": "{"b" * 99_999}"}}', Unprocessable),
        (f'{{"more": "{"b" * 99_999}", "lines": ["a"]}}', Unprocessable),
        ("1" * 99_999, Unprocessable),
        ("x" * 99_999, BadRequest),
    ],
)  # fmt: skip
def test_a_large_body_of_json_is_refused_by_its_first_fault(
    body: str, error: type[BatchqError]
) -> None:
    with pytest.raises(error):
        batch_from([body.encode()], "application/json", "")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (msgpack.packb(["a"] * 50_000)[:-1], BadRequest),
        (msgpack.packb(["a"] * 50_000) + b"a", BadRequest),
        (b"\xdd\0\0\xff\xff" + b"\xa1a" * 40_000 + b"\xc1", BadRequest),
        (msgpack.packb(["a" * 99_999])[:-1], BadRequest),
        (msgpack.packb([*["a"] * 50_000, 1]), Unprocessable),
        (msgpack.packb([*["a"] * 50_000, ["a"]]), Unprocessable),
        (msgpack.packb([*["a"] * 50_000, {"a": 1}]), Unprocessable),
        (msgpack.packb([*["a"] * 50_000, "\n"]), Unprocessable),
        (msgpack.packb({"lines": ["a"] * 50_000, "more": ["a"]}), Unprocessable),
        (msgpack.packb({"more": ["a"], "lines": ["a"] * 50_000}), Unprocessable),
        (msgpack.packb({"lines": ["a"], "more": "b" * 99_999}), Unprocessable),
        (msgpack.packb({"more": "b" * 99_999, "lines": ["a"]}), Unprocessable),
        (msgpack.packb("a" * 99_999), Unprocessable),
    ],
)
def test_a_large_body_of_msgpack_is_refused(body: bytes, error: type[BatchqError]) -> None:
    with pytest.raises(error):
        batch_from([body], "application/msgpack", "")


def test_a_newline_far_behind_is_named() -> None:
    lines = ["a"] * 50_000 + ["b\n"]
    for kind, body in (
        ("application/json", json.dumps(lines).encode()),
        ("application/msgpack", msgpack.packb(lines)),
    ):
        with pytest.raises(Unprocessable, match="line 50000 "):
            batch_from([body], kind, "")


HOSTILE = {
    "application/json": [b"[" + b'"",' * 500_000 + b'""]', b"[" + b"[]," * 500_000 + b"[]]"],
    "application/msgpack": [
        b"\xdd\x00\x16\xe3\x60" + b"\xa0" * 1_500_000,
        b"\xdd\x00\x16\xe3\x60" + b"\x90" * 1_500_000,
        b"\xdd\xff\xff\xff\xff",
    ],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_memory_is_that_of_the_body_whatever_it_holds(kind: str) -> None:
    for body in HOSTILE[kind]:
        tracemalloc.start()
        try:
            with suppress(BatchqError):
                batch_from([body], kind, "")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3 * len(body) + 4 * MIB


def test_a_line_in_json_takes_no_more_than_its_text() -> None:
    data = b"\0" * 4 * MIB + b"\n"
    tracemalloc.start()
    try:
        body = body_of(pulled(data), Form.JSON)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(body) > 24 * MIB
    assert peak < 1.5 * len(body)
