"""URLs of a store: what they mean, and what is said of those that can't be read."""

from __future__ import annotations

import pytest

from batchq.stores.redis import BadUrl, RedisStore
from batchq.stores.redis.connect import parse


@pytest.mark.parametrize("seconds", ["0.5", "5", "1e1"])
def test_a_timeout_may_have_decimals(seconds: str) -> None:
    assert parse(f"redis://h?timeout={seconds}").options.timeout == float(seconds)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://[::1", r"\[::1\]"),
        ("redis://h:99999", "not a host and a port"),
        ("redis://h?timeout=soon", "not a number"),
        ("redis://h?timeout=nan", "timeout: from"),
        ("redis://h?timeout=0", "timeout: from"),
        ("redis://h?connections=0", "at least 1"),
        ("redis://h?what=1", "'what' is not known: ca, db, prefix"),
        ("redis+cluster://h/3", "one database"),
        ("redis+sentinel://h", "name the service"),
        ("redis://h,i", "several hosts"),
        ("http://h", "not one of"),
    ],
)
def test_one_that_cant_be_read_says_why(url: str, said: str) -> None:
    with pytest.raises(BadUrl, match=said):
        RedisStore(url)


@pytest.mark.parametrize("kept", ["pa/ss", "pa?ss", "pa#ss"])
def test_half_a_password_is_not_told(kept: str) -> None:
    with pytest.raises(BadUrl, match="%2F") as told:
        RedisStore(f"redis://:{kept}@host")
    assert "ss" not in str(told.value).replace("password", "")


def test_a_password_may_hold_anything_if_it_is_quoted() -> None:
    target = parse("redis+sentinel://us%40er:p%2Fa%3Fs%23s@h:1,i/m?sentinel_password=a@b&db=2")
    assert (target.username, target.password) == ("us@er", "p/a?s#s")
    assert target.hosts == (("h", 1), ("i", 26379))
    assert (target.service, target.db) == ("m", 2)
    assert target.options.sentinel_password == "a@b"
    assert "p/a" not in repr(target)
    assert "a@b" not in repr(target)


def test_a_socket_is_a_path() -> None:
    target = parse("unix:///run/re@dis.sock?db=3")
    assert (target.path, target.db) == ("/run/re@dis.sock", 3)
