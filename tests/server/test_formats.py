from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import batch_from, body_of, pulled

from batchq.errors import (
    BadRequest,
    BatchqError,
    NotAcceptable,
    Unprocessable,
    UnsupportedMediaType,
)
from batchq.formats import Form, negotiate
from batchq.lines import batch_of
from batchq.model import Batch, Lease

PAYLOAD_TYPES = (
    "",
    "text/plain",
    "text/plain; charset=utf-8",
    "Text/Plain",
    "application/x-ndjson",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
)


def pieces_of(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts})
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("kind", PAYLOAD_TYPES)
@pytest.mark.parametrize(
    ("body", "data", "lines"),
    [
        (b"", b"", 0),
        (b"a", b"a\n", 1),
        (b"a\n", b"a\n", 1),
        (b"\n", b"\n", 1),
        (b"\n\n", b"\n\n", 2),
        (b"a\r\nb\r\n", b"a\r\nb\r\n", 2),
        (b"\r", b"\r\n", 1),
        (b"a\0b\n\xff\xfe", b"a\0b\n\xff\xfe\n", 2),
        (b"a=b&c=%0A\n", b"a=b&c=%0A\n", 1),
        (b"\xe2\x80\xa8\x0b\x0c\x85\n", b"\xe2\x80\xa8\x0b\x0c\x85\n", 1),
    ],
)
def test_a_payload_is_taken_byte_for_byte(kind: str, body: bytes, data: bytes, lines: int) -> None:
    one_by_one = [body[index : index + 1] for index in range(len(body))]
    for pieces in ([body], one_by_one, [b"", *one_by_one, b""]):
        assert batch_from(pieces, kind, "") == Batch(data, lines)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_a_payload_is_the_same_however_it_came(body: bytes, cuts: list[int]) -> None:
    assert batch_from(pieces_of(body, cuts), "", "") == batch_of(body)


def test_a_body_in_one_piece_is_not_copied() -> None:
    body = b"line\n" * 1000
    assert batch_from([body], "", "").data is body


LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize("end", [b"", b"last", b"\n", b"\n\n"])
@pytest.mark.parametrize("sizes", [[300_000, 0, 1], [65_536], [65_535], [10, 200_000, 9_000], []])
def test_the_lines_of_large_pieces_are_counted_too(sizes: list[int], end: bytes) -> None:
    pieces = [(b"%d\n\n" % size + bytes(range(256)) * 1200)[:size] for size in sizes]
    whole = b"".join([*pieces, end])
    data = whole if whole.endswith(b"\n") or not whole else whole + b"\n"
    assert batch_from([*pieces, end], "") == Batch(data, data.count(b"\n"))


@given(st.lists(LINE), st.booleans())
def test_json_lines_come_back(lines: list[str], as_map: bool) -> None:
    body = json.dumps({"lines": lines} if as_map else lines).encode()
    batch = batch_from([body], "application/json", "")
    assert batch == Batch("".join(f"{line}\n" for line in lines).encode(), len(lines))
    answer = body_of(pulled(batch.data), Form.JSON)
    assert answer.endswith(b"}\n")
    assert answer.count(b"\n") == 1
    assert json.loads(answer) == {"offset": 7, "position": 99, "lines": lines, "lease": None}


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.booleans())
def test_msgpack_lines_come_back(lines: list[bytes], as_map: bool) -> None:
    body = msgpack.packb({"lines": lines} if as_map else lines)
    batch = batch_from([body], "application/msgpack", "")
    assert batch == Batch(b"".join(line + b"\n" for line in lines), len(lines))
    answer = msgpack.unpackb(body_of(pulled(batch.data), Form.MSGPACK))
    assert answer == {"offset": 7, "position": 99, "lines": lines, "lease": None}


def test_msgpack_takes_str_and_bin_together() -> None:
    body = msgpack.packb(["ä", b"\xff", "", b""])
    assert batch_from([body], "application/msgpack", "") == Batch(b"\xc3\xa4\n\xff\n\n\n", 4)


@pytest.mark.parametrize("form", [Form.TEXT, Form.NDJSON])
def test_the_text_forms_are_the_payload_itself(form: Form) -> None:
    data = b"a\r\n\0\xff\n\n"
    assert body_of(pulled(data), form) is data


def test_the_lease_is_named_in_the_body() -> None:
    lease = Lease("abc", 30.0)
    assert json.loads(body_of(pulled(b"x\n", lease), Form.JSON))["lease"] == "abc"
    assert msgpack.unpackb(body_of(pulled(b"x\n", lease), Form.MSGPACK))["lease"] == "abc"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", BadRequest),
        (b"{", BadRequest),
        (b'["a"', BadRequest),
        (b'["\xff"]', BadRequest),
        (b"NaN", BadRequest),
        (b'["a"] x', BadRequest),
        (b"[" * 30_000, BadRequest),
        (b"[" * 100_000, Unprocessable),
        (b"{}", Unprocessable),
        (b"null", Unprocessable),
        (b'"a"', Unprocessable),
        (b"[1]", Unprocessable),
        (b'["a", null]', Unprocessable),
        (b'[["a"]]', Unprocessable),
        (b'{"lines": "a"}', Unprocessable),
        (b'{"line": ["a"]}', Unprocessable),
        (b'["a\\nb"]', Unprocessable),
        (b'["a", "\\n"]', Unprocessable),
    ],
)
def test_json_that_is_no_lines_is_refused(body: bytes, error: type[BatchqError]) -> None:
    with pytest.raises(error):
        batch_from([body], "application/json", "")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", BadRequest),
        (msgpack.packb(["a"])[:-1], BadRequest),
        (msgpack.packb(["a"]) + b"\0", BadRequest),
        (b"\xc1", BadRequest),
        (b"\xdd\xff\xff\xff\xff", BadRequest),
        (b"\x91" * 100_000, Unprocessable),
        (msgpack.packb({1: 2}), Unprocessable),
        (msgpack.packb(None), Unprocessable),
        (msgpack.packb(b"a"), Unprocessable),
        (msgpack.packb([1]), Unprocessable),
        (msgpack.packb([b"a", None]), Unprocessable),
        (msgpack.packb([msgpack.ExtType(5, b"a")]), Unprocessable),
        (msgpack.packb({"lines": 1}), Unprocessable),
        (msgpack.packb([b"a\nb"]), Unprocessable),
        (msgpack.packb({"lines": ["\n"]}), Unprocessable),
    ],
)
def test_msgpack_that_is_no_lines_is_refused(body: bytes, error: type[BatchqError]) -> None:
    with pytest.raises(error):
        batch_from([body], "application/msgpack", "")


def test_a_line_that_holds_a_newline_is_named() -> None:
    with pytest.raises(Unprocessable, match="line 2 "):
        batch_from([b'["a", "b", "c\\n", "d\\n"]'], "application/json", "")


@given(st.binary(max_size=100), st.sampled_from(["application/json", "application/msgpack"]))
def test_any_body_is_a_batch_or_an_error_of_ours(body: bytes, kind: str) -> None:
    try:
        batch = batch_from([body], kind, "")
    except BatchqError:
        return
    assert batch.data.count(b"\n") == batch.lines


@pytest.mark.parametrize(
    "kind", ["text/html", "image/png", "multipart/form-data; boundary=x", "text", "/", "*/*"]
)
def test_another_type_is_refused(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Type"):
        batch_from([b"a\n"], kind, "")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "identity, gzip"])
def test_a_coding_is_refused(coding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Encoding"):
        batch_from([b"a\n"], "text/plain", coding)


def test_no_coding_has_a_name_too() -> None:
    assert batch_from([b"a\n"], "text/plain", "identity").lines == 1


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.TEXT),
        (" , ", Form.TEXT),
        ("*/*", Form.TEXT),
        ("text/*", Form.TEXT),
        ("text/plain", Form.TEXT),
        ("TEXT/PLAIN;charset=utf-8", Form.TEXT),
        ("application/*", Form.NDJSON),
        ("application/x-ndjson", Form.NDJSON),
        ("application/json", Form.JSON),
        ("application/msgpack", Form.MSGPACK),
        ("application/json, */*", Form.JSON),
        ("*/*, application/msgpack", Form.MSGPACK),
        ("application/json, text/plain, */*", Form.JSON),
        ("text/plain, application/json", Form.TEXT),
        ("application/json;q=0.5, application/msgpack;q=0.9", Form.MSGPACK),
        ("application/json; q=0.5, */*; q=0.1", Form.JSON),
        ("text/plain;q=0, */*", Form.NDJSON),
        ("text/*;q=0, application/json;q=0.001", Form.JSON),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", Form.TEXT),
        ("image/png, application/json;q=1.000", Form.JSON),
    ],
)
def test_the_form_is_negotiated(accept: str, form: Form) -> None:
    assert negotiate(accept) is form


@pytest.mark.parametrize(
    "accept", ["image/png", "text/html", "*/*;q=0", "text/plain;q=0", "application/json;q=0.000"]
)
def test_no_form_is_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json"):
        negotiate(accept)


@pytest.mark.parametrize(
    "accept",
    ["json", "*/json", "/", "text/", "text/plain;q=2", "text/plain;q=-1", "text/plain;q=nan",
     "text/plain;q=0.1234", "text/plain;q="],
)  # fmt: skip
def test_an_accept_that_cannot_be_read_is_named(accept: str) -> None:
    with pytest.raises(BadRequest, match="Accept"):
        negotiate(accept)


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_any_accept_is_a_form_or_an_error_of_ours(accept: str) -> None:
    found: Any = None
    try:
        found = negotiate(accept)
    except (BadRequest, NotAcceptable):
        return
    assert isinstance(found, Form)
