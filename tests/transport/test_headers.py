"""httpx's requests as HTTP/2 fields."""

import httpx
import pytest
from hpack import NeverIndexedHeaderTuple

from batchq_client.transport.headers import request_fields, response_status


def test_pseudo_fields_come_first_and_connection_fields_not_at_all() -> None:
    request = httpx.Request(
        "POST",
        "https://example.org:8443/a%20b?c=d#e",
        headers={
            "Connection": "close",
            "Keep-Alive": "1",
            "Upgrade": "h2c",
            "TE": "gzip",
            "X-Name": "value",
        },
        content=b"body",
    )
    assert request_fields(request) == [
        (b":method", b"POST"),
        (b":authority", b"example.org:8443"),
        (b":scheme", b"https"),
        (b":path", b"/a%20b?c=d"),
        (b"x-name", b"value"),
        (b"content-length", b"4"),
    ]


def test_a_host_field_is_the_authority() -> None:
    request = httpx.Request("GET", "http://127.0.0.1/", headers={"Host": "name"})
    assert request_fields(request)[1] == (b":authority", b"name")


def test_te_may_say_trailers_and_nothing_else() -> None:
    request = httpx.Request("GET", "http://a/", headers={"TE": "trailers"})
    assert (b"te", b"trailers") in request_fields(request)


def test_secrets_are_never_indexed() -> None:
    headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Open": "1"}
    fields = request_fields(httpx.Request("GET", "http://a/", headers=headers))
    never = {field[0] for field in fields if isinstance(field, NeverIndexedHeaderTuple)}
    assert never == {b"authorization", b"cookie"}


@pytest.mark.parametrize(
    "field",
    [(b"x", b"a\nb"), (b"x", b"a\rb"), (b"x", b"a\0b"), (b"x", b"a "), (b"x y", b"a"), (b"", b"")],
)
def test_what_http2_cannot_carry_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        request_fields(httpx.Request("GET", "http://a/", headers=[field]))


def test_a_method_with_a_space_is_refused() -> None:
    with pytest.raises(httpx.LocalProtocolError):
        request_fields(httpx.Request("GET /x", "http://a/"))


@pytest.mark.parametrize(("value", "status"), [(b"100", 100), (b"200", 200), (b"999", 999)])
def test_a_status_has_three_digits(value: bytes, status: int) -> None:
    assert response_status([(b":status", value), (b"x", b"y")]) == status


@pytest.mark.parametrize(
    "value", [b"", b"9", b"20", b"099", b"2000", b"99999", b"abc", b"+20", b"20\n"]
)
def test_what_is_no_status_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="status"):
        response_status([(b":status", value)])
