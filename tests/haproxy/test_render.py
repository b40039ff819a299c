"""The configuration: HAProxy takes it, and the layout is read back from it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.copies import batchq
from support.haproxy import checked

from batchq.haproxy import (
    Front,
    Held,
    Hold,
    Layout,
    LayoutError,
    Shard,
    first,
    read,
    rebalanced,
    render,
    script,
    slot_of,
)
from batchq.haproxy.front import SHARD_NAME
from batchq.model import QUEUE_NAME

names = st.from_regex(SHARD_NAME, fullmatch=True).map(lambda name: name.strip("\n"))
queues = st.from_regex(QUEUE_NAME, fullmatch=True).map(lambda name: name.strip("\n"))
hosts = st.one_of(
    st.ip_addresses().map(str), st.sampled_from(["localhost", "shard-1.internal", "a_b", "h"])
)


@st.composite
def fronts(draw: st.DrawFn) -> Front:
    known = draw(st.lists(names, min_size=1, max_size=9, unique=True))
    shards = [Shard(name, draw(hosts), draw(st.integers(1, 65535))) for name in known]
    layout = first(known[:1], draw(st.integers(9, 200)))
    for count in range(2, len(known) + 1):
        layout = rebalanced(layout, known[:count], draw(st.sets(queues, max_size=3)))
    held = draw(st.sets(st.integers(0, len(layout.owners) - 1), max_size=99))
    hold = Hold(held, draw(st.sets(queues, max_size=2)))
    places = {shard.place for shard in shards}
    assume(len(places) == len(shards))
    return Front(shards=shards, layout=layout, hold=hold, resolve=True)


@given(fronts())
@settings(max_examples=200, deadline=None)
def test_a_layout_is_read_back_as_it_was_written(front: Front) -> None:
    found = read(render(front))
    assert found.layout == front.layout
    assert list(found.shards.values()) == list(front.shards)
    assert found.holds == bool(front.hold.slots or front.hold.queues)


@given(fronts())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_haproxy_takes_any_set_of_shards(tmp_path: Path, front: Front) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(render(front))
    done = checked(config)
    assert done.returncode == 0, done.stderr


def test_haproxy_takes_everything_that_can_be_chosen(tmp_path: Path, certfile: Path) -> None:
    odd = tmp_path / 'it\'s "a" $(path) #1'
    odd.mkdir()
    (odd / "front.pem").write_bytes(certfile.read_bytes())
    many = [Shard(f"shard-{number}", f"10.0.0.{number}", 8080) for number in range(100)]
    layout = first([shard.name for shard in many[:1]])
    for count in range(2, 101):
        layout = rebalanced(layout, [shard.name for shard in many[:count]])
    front = Front(
        shards=many,
        layout=layout,
        hold=Hold(range(0, 1024, 2), ["q"]),
        bind=":18080",
        bind_tls=":18443",
        certfile=str(odd / "front.pem"),
        max_wait=600.0,
        threads=1,
        log="127.0.0.1:514 local0",
        log_all=True,
        stats_socket=str(tmp_path / "stats"),
    )
    config = tmp_path / "haproxy.cfg"
    config.write_text(render(front))
    done = checked(config)
    assert done.returncode == 0, done.stderr
    assert "arn" not in done.stderr, done.stderr  # no warning, either
    assert read(config.read_text()).layout == layout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bind": ""}, "nothing to listen on"),
        ({"bind_tls": ":8443"}, "TLS needs both"),
        ({"certfile": "a.pem"}, "TLS needs both"),
        ({"layout": first(["a", "z"])}, "shard z"),
        ({"layout": Layout(("a",) * 8, {"q": "y"})}, "shard y"),
        ({"shards": [Shard("a", "h", 1)] * 2}, "the same name"),
        ({"bind": ":80\nlisten x"}, "can't stand"),
        ({"bind": ":80 'x"}, "can't stand"),
        ({"log": "a# user"}, "can't stand"),
        ({"stats_socket": "a\tb"}, "can't stand"),
        ({"shards": [Shard("a", "H", 1), Shard("b", "h", 1)]}, "a and b are at one address"),
        ({"shards": [Shard("a", "::1", 1), Shard("b", "0::1", 1)]}, "at one address"),
        ({"max_wait": 0.0, "margin": 0.0}, "no second together"),
        ({"check": 0.0}, "at least 0.01"),
        ({"threads": 65}, "at most 64"),
        *(
            ({"bind": bind}, "not an address")
            for bind in (":99999", ":0", "h", ":8-7", ":1,:x", " ")
        ),
        ({"bind_tls": ":99999", "certfile": "a.pem"}, "not an address"),
        *(
            ({"log": log}, "where to log")
            for log in ("foo", "a b", "stdout format raw", "a user x")
        ),
        ({"max_connections": 2000}, "leaves 80 requests"),
        ({"max_pulls": 2080}, "would use them up"),
    ],
)
def test_what_can_not_be_written(change: dict[str, object], why: str) -> None:
    good = {"shards": [Shard("a", "127.0.0.1", 1)], "layout": first(["a"])}
    with pytest.raises(LayoutError, match=why):
        render(Front(**{**good, **change}))  # type: ignore[arg-type]


def test_without_a_log_there_is_no_warning(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    front = Front(shards=[Shard("a", "127.0.0.1", 1)], layout=first(["a"]), bind=":18080", log="")
    config.write_text(render(front))
    done = checked(config)
    assert (done.returncode, "arn" in done.stdout + done.stderr) == (0, False), done.stderr


def test_names_are_resolved_by_the_system_unless_name_servers_are_asked_for() -> None:
    named = {"shards": [Shard("a", "localhost", 1)], "layout": first(["a"])}
    assert "resolvers" not in render(Front(**named))  # type: ignore[arg-type]
    text = render(Front(**named, resolve=True))  # type: ignore[arg-type]
    assert text.count(" resolvers system init-addr last,libc,none") == 2
    assert "\nresolvers system\n" in text


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        *(("", "h", 1), ("a b", "h", 1), ("-a", "h", 1), ("a" * 33, "h", 1), ("a\n", "h", 1)),
        *(("a", "", 1), ("a", "h x", 1), ("a", "h\n", 1), ("a", "fe80::1%eth0", 1), ("a", "-h", 1)),
        *(("a", "h..x", 1), ("a", "h.", 1), ("a", "10.0.0.256", 1), ("a", f"{'h' * 64}.x", 1)),
        *(("a", "h", 0), ("a", "h", 65536)),
    ],
)
def test_what_is_no_shard(name: str, host: str, port: int) -> None:
    with pytest.raises(LayoutError):
        Shard(name, host, port)


def test_a_configuration_that_was_changed_by_hand_is_refused() -> None:
    text = render(Front(shards=[Shard("a", "h", 1), Shard("b", "h", 2)], layout=first(["a", "b"])))
    assert "    server b h:2 maxconn 2080\n" in text
    for old, new, why in (
        ("-m int 0:511", "-m int 0:510", "no shard"),
        ("-m int 0:511", "-m int 0:512", "two shards"),
        ("-m int 512:1023", "-m int 512:1024", "are not slots"),
        ("    server b h:2 ", "    # ", "no server"),
        ("acl slots_", "acl other_", "no shard"),
        ("mod(1024)", "mod(x)", "not slots"),
    ):
        assert old in text
        with pytest.raises(LayoutError, match=why):
            read(text.replace(old, new))


def test_the_script_of_moves() -> None:
    told = script(
        [Held("q", "http://a:1", "http://d:4", 7, 2), Held("c", "http://b:2", "http://d:4", 0, 0)]
    )
    assert "# 7 lines, 2 of them out on leases\nmove q http://a:1 http://d:4\n" in told
    assert "move c http://b:2 http://d:4\n" in told
    assert told.endswith("exit $failed\n")


# The command


def haproxy(*arguments: object, status: int = 0) -> tuple[str, str]:
    done = batchq("haproxy", *arguments)
    assert done.returncode == status, done.stderr
    return done.stdout.decode(), done.stderr.decode()


TWO = ("--shard", "a=10.0.0.1:8080", "--shard", "b=[2001:db8::1]:8080")
THREE = (*TWO, "--shard", "c=10.0.0.3:8080")


def test_the_command_writes_what_haproxy_takes(tmp_path: Path) -> None:
    text, said = haproxy(*TWO)
    assert said == ""
    config = tmp_path / "haproxy.cfg"
    config.write_text(text)
    done = checked(config)
    assert done.returncode == 0, done.stderr
    haproxy(*TWO, "--output", tmp_path / "other.cfg")
    assert (tmp_path / "other.cfg").read_text() == text
    assert (tmp_path / "other.cfg").stat().st_mode & 0o777 == 0o644


def test_the_command_prints_what_moves(tmp_path: Path) -> None:
    old, new = tmp_path / "old.cfg", tmp_path / "new.cfg"
    haproxy(*TWO, "--output", old)
    text, said = haproxy(*THREE, "--was", old)
    assert said.splitlines() == ["slots 342-511: a -> c", "slots 853-1023: b -> c"]
    new.write_text(text)
    assert haproxy("moves", old, new)[0] == said
    assert haproxy("moves", old, old)[0] == "nothing moves\n"
    held = tmp_path / "held.cfg"
    haproxy(*THREE, "--was", old, "--hold", "--output", held)
    assert "-m int 342:511 853:1023\n    http-request return status 503" in held.read_text()
    assert read(held.read_text()).layout == read(text).layout
    name = next(one for one in map(str, range(999)) if 342 <= slot_of(one, 1024) <= 511)
    assert haproxy("slot", new, name)[0] == f"{name}: slot {slot_of(name, 1024)}, shard c\n"
    _, said = haproxy(*THREE, "--was", old, "--stay", name)
    assert f"queue {name} stays on a" in said
    # The address of a shard may change; nothing moves then.
    moved = [word.replace("10.0.0.1", "10.9.9.9") for word in TWO]
    assert haproxy(*moved, "--was", old)[1] == "nothing moves\n"


def test_the_record_of_a_layout_is_not_lost_by_mistake(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    haproxy(*TWO, "--output", config)
    before = config.read_text()
    _, said = haproxy(*THREE, "--output", config, status=1)
    assert f"say --was {config} and another --output" in said
    held = tmp_path / "held.cfg"
    haproxy(*THREE, "--was", config, "--hold", "--output", held)
    assert "name the one from before" in haproxy(*THREE, "--was", held, status=1)[1]
    assert "never changes" in haproxy(*THREE, "--was", config, "--slots", "9", status=1)[1]
    notes = tmp_path / "notes"
    notes.write_text("mine\n")
    for was in ((), ("--was", config)):
        assert "another kind of file" in haproxy(*TWO, *was, "--output", notes, status=1)[1]
    assert notes.read_text() == "mine\n"
    assert "not written by batchq haproxy" in haproxy(*TWO, "--was", notes, status=1)[1]
    assert "can't write" in haproxy(*TWO, "--output", tmp_path / "no" / "where", status=1)[1]
    assert "can't be read" in haproxy(*TWO, "--output", tmp_path, status=1)[1]
    assert "an empty" in haproxy(*TWO, "--output", "", status=2)[1]
    haproxy(*TWO, "--output", config)  # the same layout again is no harm
    assert config.read_text() == before


@pytest.mark.parametrize("hold", [(), ("--hold",)])
def test_the_layout_in_force_is_kept_until_its_queues_are_moved(
    tmp_path: Path, hold: tuple[str, ...]
) -> None:
    config, link, other = (tmp_path / name for name in ("haproxy.cfg", "link", "next.cfg"))
    haproxy(*TWO, "--output", config)
    link.symlink_to(config)
    before = config.read_text()
    for output in (config, link):
        _, said = haproxy(*THREE, "--was", config, *hold, "--output", output, status=1)
        assert "the only record" in said
    assert config.read_text() == before
    haproxy(*THREE, "--was", config, *hold, "--output", other)
    haproxy(*THREE, "--was", config, *hold, "--output", other)  # again, as when one more stays
    # Where nothing moves, it may be written anew, as with another address.
    moved = [word.replace("10.0.0.1", "10.9.9.9") for word in TWO]
    haproxy(*moved, "--was", config, "--output", config)
    assert read(config.read_text()).shards["a"].host == "10.9.9.9"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name the shards"),
        (("--shard", "a"), "not NAME=host:port"),
        (("--shard", "a=h:x"), "not NAME=host:port"),
        (("--shard", "a b=h:1"), "not a shard's name"),
        ((*TWO, "--hold"), "--hold needs --was"),
        ((*TWO, "--stay", "q"), "--stay needs --was"),
        ((*TWO, "--settle", "q"), "--settle needs --was"),
        ((*TWO, "--stay", "q q"), "not a queue's name"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], why: str) -> None:
    assert why in haproxy(*arguments, status=2)[1]


def test_shards_that_can_not_be_asked_are_named(tmp_path: Path) -> None:
    old, new = tmp_path / "old.cfg", tmp_path / "new.cfg"
    haproxy("--shard", "a=127.0.0.1:1", "--output", old)
    haproxy("--shard", "a=127.0.0.1:1", "--shard", "b=127.0.0.1:2", "--was", old, "--output", new)
    _, said = haproxy("moves", old, new, "--copies", status=1)
    assert "127.0.0.1:1" in said
