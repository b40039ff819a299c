"""The accounting checker finds each kind of violation, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.accounting import Account, Delivery
from support.stream import assert_identical, difference, digest_of, lines_of

BATCHES = [f"{n}a\n{n}b\n{n}c\n".encode() for n in range(5)]


def written(*refused: int, unknown: tuple[int, ...] = ()) -> Account:
    """Five batches of three lines by one writer."""
    account = Account()
    for seq, data in enumerate(BATCHES):
        account.attempted("w", seq, data)
        if seq in refused:
            account.refused("w", seq)
        elif seq not in unknown:
            account.acknowledged("w", seq)
    return account


def read(account: Account, *pieces: bytes) -> Account:
    """Pulls without leases, one after the other."""
    offset = position = 0
    for data in pieces:
        lines = data.count(b"\n")
        account.delivered(Delivery(offset, position, lines, data, asked=account.tick()))
        offset += lines
        position += len(data)
    return account


def kinds(account: Account) -> set[str]:
    return set(account.report().violations)


@pytest.mark.parametrize("size", [1, 3, 4, 15])
def test_all_is_well_however_the_lines_are_pulled(size: int) -> None:
    lines = b"".join(BATCHES).splitlines(keepends=True)
    pieces = [b"".join(lines[at : at + size]) for at in range(0, len(lines), size)]
    account = read(written(), *pieces)
    account.ended(lines=15, bytes=45, digest=digest_of(BATCHES))
    report = account.report()
    report.assert_clean()
    assert (report.lines, report.bytes, report.batches) == (15, 45, 5)
    assert report.digest == digest_of(pieces)


@pytest.mark.parametrize(
    ("arrived", "found"),
    [
        ([0, 1, 2, 3], {"lost"}),
        ([1, 2, 3, 4], {"lost"}),
        ([0, 1, 3, 4], {"lost"}),
        ([], {"lost"}),
        ([0, 1, 1, 2, 3, 4], {"duplicated"}),
        ([0, 1, 2, 3, 4, 0], {"duplicated"}),
        ([0, 2, 1, 3, 4], {"order"}),
        ([4, 0, 1, 2, 3], {"order"}),
        ([0, 0, 2, 3, 4], {"lost", "duplicated"}),
    ],
)
def test_whole_batches(arrived: list[int], found: set[str]) -> None:
    assert kinds(read(written(), *(BATCHES[n] for n in arrived))) == found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda data: data.replace(b"2b\n", b""), {"lost"}),
        (lambda data: data.replace(b"2b\n", b"2b\n2b\n"), {"duplicated"}),
        (lambda data: data.replace(b"2b\n", b"2x\n"), {"lost", "unexpected"}),
        (lambda data: data.replace(b"2b\n2c\n", b"2c\n2b\n"), {"order"}),
        (lambda data: data + b"new\n", {"unexpected"}),
        (lambda data: b"new\n" + data, {"unexpected"}),
        (lambda data: data + b"0b\n", {"duplicated"}),
    ],
)
def test_single_lines(change: Callable[[bytes], bytes], found: set[str]) -> None:
    assert kinds(read(written(), change(b"".join(BATCHES)))) == found


def test_the_message_begins_with_the_first_difference() -> None:
    report = read(written(), BATCHES[0], BATCHES[2], BATCHES[3], BATCHES[4]).report()
    assert report.lost == [b"1a\n", b"1b\n", b"1c\n"]
    with pytest.raises(AssertionError, match=r"(?s)batch 1 of 'w'.*is not there.*lost \(3\): "):
        report.assert_clean()
    torn = read(written(), b"".join(BATCHES).replace(b"2b\n", b"2x\n")).report()
    with pytest.raises(AssertionError, match=r"at offset 6 \(position 18\) b'2a\\n' begins no"):
        torn.assert_clean()


def test_an_unknown_outcome_may_be_either_but_leaves_no_hole() -> None:
    absent = read(written(unknown=(4,)), *BATCHES[:4]).report()
    absent.assert_clean()
    assert absent.absent == 1
    read(written(unknown=(4,)), *BATCHES).report().assert_clean()
    assert kinds(read(written(unknown=(2,)), *BATCHES[:2], *BATCHES[3:])) == {"lost"}


def test_what_was_refused_must_not_be_there() -> None:
    read(written(4), *BATCHES[:4]).report().assert_clean()
    read(written(2), *BATCHES[:2], *BATCHES[3:]).report().assert_clean()
    assert kinds(read(written(2), *BATCHES)) == {"unexpected"}


def test_producers_are_interleaved_as_they_like_each_in_order() -> None:
    def account(*arrived: str) -> set[str]:
        two = Account()
        for name in arrived:
            two.attempted(name[0], int(name[1]), f"{name}\n{name}'\n".encode())
            two.acknowledged(name[0], int(name[1]))
        return kinds(read(two, *(f"{name}\n{name}'\n".encode() for name in arrived)))

    assert account("a0", "b0", "b1", "a1") == set()
    assert account("b0", "b1", "a0", "a1") == set()
    assert account("a1", "b0", "a0", "b1") == {"order"}


def test_a_batch_is_where_its_answer_said() -> None:
    account = read(written(), *BATCHES)
    account.acknowledged("w", 1, offset=3, position=9)
    assert kinds(account) == set()
    account.acknowledged("w", 1, offset=4, position=9)
    assert kinds(account) == {"offsets"}
    account.acknowledged("w", 1, offset=3, position=10)
    assert kinds(account) == {"offsets"}


def test_of_two_batches_that_fit_the_one_is_there_that_was_said_to_be() -> None:
    account = Account()
    account.attempted("old", 0, b"a\n")
    account.attempted("new", 0, b"a\nb\n")
    account.acknowledged("new", 0, offset=0, position=0)
    report = read(account, b"a\nb\n").report()
    report.assert_clean()
    assert (report.batches, report.absent) == (1, 1)


@pytest.mark.parametrize(
    "delivery",
    [
        Delivery(7, 18, 9, b"".join(BATCHES[2:])),
        Delivery(6, 19, 9, b"".join(BATCHES[2:])),
        Delivery(7, 19, 9, b"".join(BATCHES[2:])),
        Delivery(6, 18, 8, b"".join(BATCHES[2:])),
        Delivery(6, 18, 9, b"".join(BATCHES[2:])[:-1]),
    ],
)
def test_offsets_and_positions_are_dense(delivery: Delivery) -> None:
    account = written()
    account.delivered(Delivery(0, 0, 6, b"".join(BATCHES[:2])))
    account.delivered(delivery)
    assert "offsets" in kinds(account)


def leased(account: Account, first: int, last: int, lease: str, data: bytes | None = None) -> None:
    """Batches first to last (not included) go out on a lease."""
    payload = b"".join(BATCHES[first:last]) if data is None else data
    asked = account.tick()
    account.delivered(Delivery(3 * first, 9 * first, 3 * (last - first), payload, 1, lease, asked))


def test_lines_may_come_again_until_they_are_acknowledged() -> None:
    account = written()
    leased(account, 0, 3, "one")
    leased(account, 1, 2, "two")
    leased(account, 0, 5, "three")
    account.done("three")
    report = account.report()
    report.assert_clean()
    assert report.repeated == 2


def test_lines_that_come_again_after_their_ack() -> None:
    account = written()
    leased(account, 0, 5, "one")
    account.done("one")
    leased(account, 4, 5, "two")
    assert kinds(account) == {"redelivered"}


def test_an_answer_that_was_late_is_not_redelivered() -> None:
    account = written()
    asked = account.tick()
    leased(account, 0, 5, "one")
    account.done("one")
    account.delivered(Delivery(12, 36, 3, BATCHES[4], 1, "two", asked))
    account.report().assert_clean()
    account.done("two")
    assert kinds(account) == {"redelivered"}


def test_without_leases_nothing_comes_again() -> None:
    account = read(written(), *BATCHES)
    account.delivered(Delivery(3, 9, 3, BATCHES[1]))
    assert kinds(account) == {"redelivered"}


def test_lines_that_come_again_are_the_same_ones() -> None:
    account = written()
    leased(account, 0, 5, "one")
    leased(account, 1, 2, "two", b"1a\n1X\n1c\n")
    assert kinds(account) == {"offsets"}
    account = written()
    leased(account, 0, 5, "one")
    account.delivered(Delivery(4, 9, 3, BATCHES[1], 2, "two"))
    assert kinds(account) == {"offsets"}


def test_totals_and_digest_are_those_that_were_told() -> None:
    for lines, size, digest in (
        (14, 45, None),
        (15, 44, None),
        (15, 45, digest_of([b"other"])),
    ):
        account = read(written(), *BATCHES)
        account.ended(lines=lines, bytes=size, digest=digest)
        assert kinds(account) == {"totals"}
    account = read(written(), *BATCHES)
    digest = digest_of([b"".join(BATCHES)[:-1]])
    account.ended(lines=15, bytes=45, digest=digest, unterminated=True)
    account.report().assert_clean()


def test_a_batch_keeps_its_lines_over_retries() -> None:
    account = written()
    account.attempted("w", 0, BATCHES[0][:-1])
    with pytest.raises(ValueError, match="other lines"):
        account.attempted("w", 0, b"else\n")


def test_a_large_stream_is_checked_by_batch() -> None:
    account = Account()
    batches = [b"%08d,%s\n" % (n, b"x" * 90) * 10_000 for n in range(100)]
    for seq, data in enumerate(batches):
        account.attempted("w", seq, data)
        account.acknowledged("w", seq, offset=seq * 10_000, position=seq * len(data))
    read(account, *(b"".join(batches[at : at + 7]) for at in range(0, 100, 7)))
    report = account.report()
    report.assert_clean()
    assert report.bytes == 100 * 1_000_000


def test_the_first_difference_of_two_streams() -> None:
    def found(ours: list[bytes], theirs: list[bytes]) -> str:
        return difference(ours, theirs) or ""

    assert found([b"a\nb\n", b"c\n"], [b"a\n", b"", b"b\nc", b"\n"]) == ""
    assert found([], []) == ""
    assert "byte 2 on (in line 1): expected b'b\\n', got b'X\\n'" in found([b"a\nb\n"], [b"a\nX\n"])
    assert "expected b'c\\n', got the end" in found([b"a\nb\n", b"c\n"], [b"a\nb\n"])
    assert "expected the end, got b'c\\n'" in found([b"a\nb\n"], [b"a\nb\n", b"c\n"])


def test_files_are_compared(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(b"a\n" * 1_000_000)
    theirs.write_bytes(b"a\n" * 1_000_000)
    assert_identical(ours, theirs)
    theirs.write_bytes(b"a\n" * 999_999 + b"b\n")
    with pytest.raises(AssertionError, match=r"byte 1999998 on \(in line 999999\)"):
        assert_identical(ours, theirs)


def test_lines_are_what_is_before_their_ends() -> None:
    assert lines_of([b"a\nb", b"\n\nc\r\n"]) == [b"a", b"b", b"", b"c\r"]
