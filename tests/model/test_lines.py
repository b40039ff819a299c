"""``batchq.lines`` against the plainest way to say the same."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from batchq.lines import _STRIDE, batch_of, cut, find_end, valid_utf8

pieces = st.sampled_from([b"", b"a", b"bc", b"\r", b"\x00", b"\xff", "ä€😀".encode(), b"\xe2\x82"])
bodies = st.lists(pieces, max_size=8).map(b"\n".join) | st.binary(max_size=40)
payloads = st.lists(pieces, max_size=8).map(lambda some: b"".join(p + b"\n" for p in some))


def split(payload: bytes) -> list[bytes]:
    assert payload == b"" or payload.endswith(b"\n")
    return [piece + b"\n" for piece in payload.split(b"\n")[:-1]]


def naive_cut(payload: bytes, max_lines: int, max_bytes: int) -> tuple[int, int]:
    size = count = 0
    for line in split(payload):
        if count >= max_lines or size + len(line) > max_bytes:
            break
        size, count = size + len(line), count + 1
    return size, count


@given(bodies)
@example(b"")
@example(b"\n")
@example(b"no end")
def test_batch_of_adds_a_missing_newline_and_counts(body: bytes) -> None:
    batch = batch_of(body)
    whole = body if body == b"" or body.endswith(b"\n") else body + b"\n"
    assert batch.data == whole
    assert batch.lines == len(split(whole))


def test_batch_of_at_every_cut_of_a_body() -> None:
    body = b"a\n\n\r\n\xff\x00\nlast"
    for end in range(len(body) + 1):
        head = body[:end]
        assert b"".join(split(batch_of(head).data)) == head + (
            b"\n" if head and not head.endswith(b"\n") else b""
        )


@given(payloads, st.integers(1, 12), st.data())
def test_find_end_finds_the_nth(payload: bytes, lines: int, data: st.DataObject) -> None:
    parts = split(payload)
    skipped = data.draw(st.integers(0, len(parts)))
    start = len(b"".join(parts[:skipped]))
    stop = data.draw(st.integers(start, len(payload)))
    end = start
    for count, part in enumerate(parts[skipped:], 1):
        end += len(part)
        if count == lines:
            break
    else:
        end = len(payload) + 1
    assert find_end(payload, lines, start, stop) == (end if end <= stop else -1)


def test_find_end_across_its_stride() -> None:
    for length in (_STRIDE - 2, _STRIDE - 1, _STRIDE, _STRIDE + 1, 3 * _STRIDE):
        payload = b"x" * length + b"\ny\n\n"
        assert find_end(payload, 1, 0, len(payload)) == length + 1
        assert find_end(payload, 2, 0, len(payload)) == length + 3
        assert find_end(payload, 3, 0, len(payload)) == length + 4
        assert find_end(payload, 4, 0, len(payload)) == -1
    many = b"\n" * (2 * _STRIDE + 5)
    for lines in (1, _STRIDE, _STRIDE + 1, 2 * _STRIDE + 5):
        assert find_end(many, lines, 0, len(many)) == lines
    assert find_end(many, len(many) + 1, 0, len(many)) == -1


@given(payloads, st.integers(0, 10), st.integers(0, 40))
def test_cut_takes_what_fits(payload: bytes, max_lines: int, max_bytes: int) -> None:
    assert cut(payload, 0, len(payload), max_lines, max_bytes) == naive_cut(
        payload, max_lines, max_bytes
    )


@given(payloads, payloads, payloads, st.integers(0, 10), st.integers(0, 40))
def test_cut_stays_within_its_part(
    before: bytes, part: bytes, after: bytes, max_lines: int, max_bytes: int
) -> None:
    start, stop = len(before), len(before) + len(part)
    end, count = cut(before + part + after, start, stop, max_lines, max_bytes)
    assert (end - start, count) == naive_cut(part, max_lines, max_bytes)


@given(payloads)
def test_valid_utf8_ends_before_the_first_line_that_is_not(payload: bytes) -> None:
    good = 0
    for line in split(payload):
        try:
            line.decode()
        except UnicodeDecodeError:
            break
        good += len(line)
    assert valid_utf8(payload) == good


def test_valid_utf8_at_every_cut_of_a_character() -> None:
    character = "😀".encode()
    for end in range(1, len(character)):
        assert valid_utf8(b"ok\n" + character[:end] + b"\n") == 3
    assert valid_utf8(b"ok\n" + character + b"\n") == 3 + len(character) + 1
