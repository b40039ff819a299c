"""Writes HAProxy's configuration (2.6 and newer) for a layout.

What it must keep, whatever is asked for:

- a call on a queue reaches the one shard that the queue lives on, or none: a shard is a
  backend with one server, and a shard that is down is 503;
- HAProxy repeats nothing: a pull that is sent twice takes lines twice, and whether a push
  is numbered is the writer's business, who repeats it better;
- the name that is hashed is the name that the shard sees.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from batchq.haproxy import problems
from batchq.haproxy.front import KEPT_CONNECTIONS, Front, Shard
from batchq.haproxy.layout import LayoutError, runs
from batchq.haproxy.problems import Problem
from batchq.model import KIB, MIB

_WORDS: Final = 50
"""Values in one line of the configuration: HAProxy takes 64 words."""

_BUFFER: Final = 64 * KIB
"""Bytes of a buffer, of which a request that moves data has a few. A frame of HTTP/2 is read
whole into one, so that it bounds the frames too."""

_STREAM_WINDOW: Final = MIB
"""Bytes that a client may upload before HAProxy has passed the first of them on. HAProxy's
65,535 are a round trip for every 64 KiB."""

_HEADER_BYTES: Final = 16 * KIB
"""Bytes of a request's header fields; the servers' own limit."""

_HEADER_FIELDS: Final = 101
_STREAMS: Final = 1000
"""Requests that one HTTP/2 connection may have open, on either side."""

_IDLE_SECONDS: Final = 180
"""As the servers have it: well above the clients' own, who then end idle connections."""

_TARGET: Final = "Batchq-Target"
"""The header in which one part of HAProxy tells the other which shard is meant."""

_ONCE: Final = ("once", "pulls")
"""HAProxy's ways to itself: pulls that wait don't use up the room of what is done at once."""

_MORE: Final = 64
"""Requests that come in while others are counted, beyond their limit."""

_VERBS: Final = "push|pull|ack|release|extend|close"
_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


def render(front: Front) -> str:
    """Writes the configuration."""
    sections = (
        _opening(front),
        _global(front),
        _defaults(front),
        _resolvers(front),
        _frontend(front),
        *(_once(front, way) for way in _ONCE),
        *(_shard(front, shard) for shard in front.shards),
        _any(front),
    )
    return "\n".join("\n".join(lines) + "\n" for lines in map(list, sections) if lines)


def _opening(front: Front) -> Iterator[str]:
    yield "# Written by batchq haproxy, and read by it again: the lines of acl slots_NAME and"
    yield "# stays_NAME are the only record of where queues live. Keep this file."
    yield f"# {len(front.layout.owners)} slots, {len(front.shards)} shards: {' '.join(front.names)}"


def _global(front: Front) -> Iterator[str]:
    yield "global"
    yield f"    maxconn {2 * front.max_connections + front.max_pulls + 2 * _MORE}"
    if front.threads is not None:
        yield f"    nbthread {front.threads}"
    if front.log:
        yield f"    log {_plain(front.log)}"
    if front.stats_socket:
        yield f"    stats socket {_quoted(front.stats_socket)} mode 600 level admin"
    yield "    # An old process that a reload left ends when its last answer is due."
    yield f"    hard-stop-after {_time(front.max_wait + front.margin)}"
    yield f"    tune.bufsize {_BUFFER}"
    yield f"    tune.http.maxhdr {_HEADER_FIELDS}"
    yield f"    tune.h2.initial-window-size {_STREAM_WINDOW}"
    yield f"    tune.h2.max-concurrent-streams {_STREAMS}"
    if front.bind_tls:
        yield "    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets"


def _defaults(front: Front) -> Iterator[str]:
    answer = _time(front.max_wait + front.margin)
    yield "defaults"
    yield "    mode http"
    if front.log:
        yield "    log global"
        if not front.log_all:
            yield "    option dontlog-normal"
    yield "    timeout connect 5s"
    yield "    timeout http-request 10s"
    yield f"    timeout http-keep-alive {_IDLE_SECONDS}s"
    yield f"    timeout client {answer}"
    yield f"    timeout server {answer}"
    yield "    # Requests wait for room at a shard no longer than its clients care."
    yield "    timeout queue 5s"
    yield "    # A shard that hangs accepts connections and says nothing."
    yield "    timeout check 2s"
    yield "    # Nothing is sent twice: see the pulls."
    yield "    retries 0"
    yield "    retry-on none"
    yield "    # Each client has its own connections to the shards: on a shared one, a client that"
    yield "    # reads slowly would stall the others."
    yield "    http-reuse never"
    yield "    # A pull whose client has left takes nothing: the shard is told."
    yield "    option abortonclose"
    yield "    option clitcpka"
    yield "    option srvtcpka"
    yield "    # What waits for a shard that hangs is given up when that is known."
    yield (
        f"    default-server proto h2 check inter {_time(front.check)} fall 3 rise 1 "
        f"on-marked-down shutdown-sessions"
    )
    for problem in problems.OWN:
        yield f"    http-error status {problem.status} {_answer(problem)}"


def _resolvers(front: Front) -> Iterator[str]:
    if _resolved(front, *front.shards):
        yield "resolvers system"
        yield "    parse-resolv-conf"


def _frontend(front: Front) -> Iterator[str]:
    yield "frontend batchq"
    if front.log:
        yield f"    log-format {_quoted(_LOG_FORMAT)}"
    yield f"    maxconn {front.max_connections}"
    yield f"    max-session-srv-conns {KEPT_CONNECTIONS}"
    if front.bind:
        yield f"    bind {_plain(front.bind)}"
    if front.bind_tls:
        certificate = _quoted(front.certfile)
        yield f"    bind {_plain(front.bind_tls)} ssl crt {certificate} alpn h2,http/1.1"
    yield "    # HTTP/2 begins by ALPN or prior knowledge, never by an upgrade."
    for name in ("Connection", "Upgrade", "HTTP2-Settings"):
        yield f"    http-request del-header {name}"
    yield f"    http-request del-header {_TARGET}"
    yield "    http-request set-header X-Forwarded-For %[src]"
    yield "    http-request set-header X-Forwarded-Proto http"
    yield "    http-request set-header X-Forwarded-Proto https if { ssl_fc }"
    yield from _refused(front)
    yield from _held(front)
    yield from _chosen(front)


def _refused(front: Front) -> Iterator[str]:
    """What no shard is asked, and what the others are asked about."""
    yield _return(problems.BAD_METHOD, "{ method CONNECT }")
    yield _return(problems.HEADERS_TOO_LARGE, f"{{ req.hdrs,length gt {_HEADER_BYTES} }}")
    yield "    # How large a body may be is the shards' business: they take the rest of one that"
    yield "    # they refuse, without which a client that still sends misses the answer."
    yield "    # One queue's name, in one segment; nothing else may look like it to a shard."
    yield f"    acl shaped path -m reg ^/({_VERBS}|queues)/[^/]+$"
    yield f"    acl alike path -m reg ^/({_VERBS})(/|$) ^/queues/. // %"
    yield _return(problems.BAD_PATH, "!shaped alike")
    yield "    acl misnamed path -m sub -i %00"
    yield _return(problems.BAD_NAME, "misnamed")
    yield "    http-request set-var(txn.queue) path,field(3,/),url_dec if shaped"
    yield "    acl about_queue var(txn.queue) -m found"
    yield f"    acl named var(txn.queue) -m reg ^{_NAME}$"
    yield "    acl unnameable var(txn.queue) -m reg [^A-Za-z0-9._-]"
    yield _return(problems.BAD_NAME, "shaped !named")
    yield _return(problems.BAD_NAME, "about_queue unnameable")
    canonical = "/%[path,field(2,/)]/%[var(txn.queue)]"
    yield f"    http-request set-path {canonical} if about_queue {{ path -m sub % }}"
    slots = len(front.layout.owners)
    yield f"    http-request set-var(txn.slot) var(txn.queue),xxh32,mod({slots}) if about_queue"


def _held(front: Front) -> Iterator[str]:
    hold, stays = front.hold, front.layout.stays
    if hold.slots:
        values = _run_words(hold.slots)
        yield from _acl("held_slot", "var(txn.slot) -m int", values)
    if hold.queues:
        yield from _acl("held_queue", "var(txn.queue) -m str", sorted(hold.queues))
    for shard in front.names:
        queues = sorted(queue for queue, where in stays.items() if where == shard)
        yield from _acl(f"stays_{shard}", "var(txn.queue) -m str", queues)
    if hold.queues:
        yield _return(problems.held(), "about_queue held_queue")
    if hold.slots:
        staying = "".join(f" !stays_{name}" for name in sorted(set(stays.values())))
        yield _return(problems.held(), f"about_queue held_slot{staying}")


def _chosen(front: Front) -> Iterator[str]:
    """The shard: the queue's own, or the one that is asked for."""
    yield from _mapped(front)
    yield from _asked(front)
    yield from _passed(front)


def _mapped(front: Front) -> Iterator[str]:
    yield "    # Each slot's one shard."
    for shard in front.names:
        yield from _acl(
            f"slots_{shard}", "var(txn.slot) -m int", _run_words(front.layout.slots_of(shard))
        )
        if shard in front.layout.owners:
            yield from _lives(shard, f"slots_{shard}")
    for shard in front.names:
        if shard in front.layout.stays.values():
            yield from _lives(shard, f"stays_{shard}")


def _asked(front: Front) -> Iterator[str]:
    yield "    # Without a queue's name: any shard that lives, or the one that is asked for."
    yield "    http-request set-var(txn.asked) url_param(shard) if !about_queue"
    yield "    acl shard_asked var(txn.asked) -m found"
    for words in _chunks(front.names):
        yield f"    acl shard_known var(txn.asked) -m str {' '.join(words)}"
    yield _return(problems.unknown_shard(front.names), "shard_asked !shard_known")
    strip = "query,regsub(^shard=[^&]*&?,),regsub(&shard=[^&]*,,g)"
    yield f"    http-request set-query %[{strip}] if shard_asked"
    yield "    http-request set-var(txn.shard) var(txn.asked) if shard_asked"


def _passed(front: Front) -> Iterator[str]:
    """Which way a request takes to its shard."""
    yield "    # When a shard ends before it answers, HAProxy tells HTTP/2 clients that it refused"
    yield "    # the request (REFUSED_STREAM), and HTTP/1.1 clients nothing: they send it again."
    yield "    # What may be done twice takes that way; all else is passed on as the first request"
    yield "    # of a connection, whose client is told 502."
    for what, whose in (
        ("{ req.hdr(Producer-Id) -m found }", "/push/ /close/"),
        ("{ url_param(lease) -m found }", "/pull/"),
        ("{ method GET HEAD }", "/queues/"),
    ):
        yield f"    http-request set-var(txn.again) bool(1) if {what} {{ path -m beg {whose} }}"
    yield "    acl repeatable var(txn.again) -m found"
    yield "    acl up var(txn.up) -m int gt 0"
    yield "    acl pulled path -m beg /pull/"
    for problem, way, kind, most in (
        (problems.too_many_pulls(front.max_pulls), "pulls", "pulled", front.max_pulls),
        (problems.too_many_calls(front.max_connections), "once", "!pulled", front.max_connections),
    ):
        full = f"{{ be_conn({way}) ge {most} }}"
        yield _return(problem, f"about_queue !repeatable up {kind} {full}")
    yield f"    http-request set-header {_TARGET} %[var(txn.shard)] if about_queue !repeatable up"
    yield "    use_backend pulls if about_queue !repeatable up pulled"
    yield "    use_backend once if about_queue !repeatable up"
    yield "    use_backend shard_%[var(txn.shard)] if { var(txn.shard) -m found }"
    yield "    use_backend any if !about_queue"


def _lives(shard: str, condition: str) -> Iterator[str]:
    yield f"    http-request set-var(txn.shard) str({shard}) if {condition}"
    yield f"    http-request set-var(txn.up) nbsrv(shard_{shard}) if {condition}"


def _once(front: Front, way: str) -> Iterator[str]:
    most = front.max_pulls if way == "pulls" else front.max_connections
    yield f"backend {way}"
    yield f"    server {way} {front.own_socket(way)} proto h1 no-check"
    yield f"frontend {way}"
    yield f"    bind {front.own_socket(way)}"
    yield f"    maxconn {most + _MORE}"
    yield "    no log"
    yield "    option httpclose"
    yield f"    http-request set-var(txn.shard) req.hdr({_TARGET})"
    yield f"    http-request del-header {_TARGET}"
    yield "    use_backend shard_%[var(txn.shard)]"


def _shard(front: Front, shard: Shard) -> Iterator[str]:
    yield f"backend shard_{shard.name}"
    yield f"    http-error status 503 {_answer(problems.shard_down(shard.name))}"
    yield f"    http-after-response set-header Batchq-Shard {shard.name}"
    yield "    option httpchk"
    yield "    http-check connect proto h2"
    yield "    http-check send meth GET uri /readyz ver HTTP/2 hdr Host batchq"
    yield "    http-check expect status 200"
    most = f"maxconn {front.shard_requests}"
    yield f"    server {shard.name} {shard.endpoint} {most}{_resolved(front, shard)}"


def _any(front: Front) -> Iterator[str]:
    yield "backend any"
    yield "    balance roundrobin"
    yield "    http-response set-header Batchq-Shard %s"
    for shard in front.shards:
        track = f"no-check track shard_{shard.name}/{shard.name}"
        yield f"    server {shard.name} {shard.endpoint}{_resolved(front, shard)} {track}"


def _resolved(front: Front, *shards: Shard) -> str:
    """Lets names be resolved later, too.

    When HAProxy starts they are by the system's own rules, later by name servers alone: those
    don't know what /etc/hosts says, and a name that they deny takes its shard down.
    """
    named = front.resolve and any(not shard.is_address for shard in shards)
    return " resolvers system init-addr last,libc,none" if named else ""


_LOG_FORMAT: Final = (
    "%tr client=%ci:%cp method=%HM path=%HPO queue=%[var(txn.queue)] slot=%[var(txn.slot)] "
    "shard=%[var(txn.shard)] status=%ST ended=%ts wait_ms=%Tw connect_ms=%Tc answer_ms=%Tr "
    "total_ms=%Ta up_bytes=%U down_bytes=%B"
)


def _return(problem: Problem, condition: str) -> str:
    return f"    http-request return status {problem.status} {_answer(problem)} if {condition}"


def _answer(problem: Problem) -> str:
    r"""The words of an answer; its ``\n`` stands behind the quotes, where HAProxy reads it."""
    headers = "".join(f" hdr {name} {_quoted(value)}" for name, value in problem.headers)
    return rf"content-type application/problem+json{headers} string {_quoted(problem.document)}\n"


def _acl(name: str, what: str, values: Sequence[str]) -> Iterator[str]:
    for words in _chunks(values):
        yield f"    acl {name} {what} {' '.join(words)}"


def _run_words(slots: Collection[int]) -> list[str]:
    return [f"{low}:{high}" if low != high else f"{low}" for low, high in runs(slots)]


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _WORDS):
        yield values[start : start + _WORDS]


def _time(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms"


def _quoted(text: str) -> str:
    """One word of a configuration.

    Raises:
        LayoutError: it has a line end or another control character.
    """
    if not text.isprintable():
        raise LayoutError(f"{text!r} can't stand in a configuration")
    return "'" + text.replace("'", r"'\''") + "'"


def _plain(text: str) -> str:
    """Words of a configuration that mean what they say.

    Raises:
        LayoutError: they would not.
    """
    if not text.isprintable() or re.search(r"""["'\\#${}]""", text):
        raise LayoutError(f"{text!r} can't stand in a configuration")
    return text
