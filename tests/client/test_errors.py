"""Answers that are no success, and answers that do not come."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from batchq import errors as server_errors
from batchq_client import Client, Numbering, errors
from batchq_client.transport import StreamRefused

Handler = Callable[[httpx.Request], httpx.Response]


def problem(code: str, status: int, **headers: str) -> Handler:
    def answer(_: httpx.Request) -> httpx.Response:
        body = {"code": code, "status": status, "title": "T", "detail": "what to do"}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {"content-type": "application/problem+json; charset=utf-8"}
        return httpx.Response(status, json=body, headers={**kind, **names})

    return answer


def client_of(handler: Handler) -> Client:
    return Client("http://x", http=httpx.AsyncClient(transport=httpx.MockTransport(handler)))


async def raised(handler: Handler) -> errors.ClientError:
    with pytest.raises(errors.ClientError) as caught:
        await client_of(handler).push("q", b"a\n", numbering=Numbering("p", 0, 0))
    return caught.value


def server_codes(root: type[server_errors.BatchqError]) -> set[str]:
    own = {root.code} if "code" in vars(root) else set()
    return own.union(*(server_codes(kind) for kind in root.__subclasses__()))


def test_every_code_of_the_server_has_its_error() -> None:
    codes = server_codes(server_errors.BatchqError) - {"error"}
    assert len(codes) > 20
    assert codes <= set(errors.BY_CODE)


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
async def test_codes(code: str) -> None:
    error = await raised(problem(code, 409, queue_id="life"))
    assert type(error) is errors.BY_CODE[code]
    assert isinstance(error, errors.Refused)
    assert (str(error), error.problem_code, error.status) == ("what to do", code, 409)
    assert error.queue_id == "life"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Refused),
        (429, errors.LimitReached),
        (503, errors.Unavailable),
        (507, errors.Unavailable),
        (418, errors.Refused),
    ],
)
async def test_a_code_that_is_not_known(status: int, kind: type[errors.Refused]) -> None:
    error = await raised(problem("brand-new", status, retry_after="7"))
    assert type(error) is kind
    assert isinstance(error, errors.Refused)
    assert error.retry_after == 7


async def test_headers_of_errors() -> None:
    gap = await raised(
        problem("sequence-gap", 409, producer_expected_seq="3", producer_received_seq="9")
    )
    assert isinstance(gap, errors.SequenceGap)
    assert (gap.expected, gap.received) == (3, 9)
    stale = await raised(problem("stale-epoch", 403, producer_epoch="4"))
    assert isinstance(stale, errors.StaleEpoch)
    assert stale.epoch == 4
    lost = await raised(problem("lease-lost", 409, lease_lost="a, b,c"))
    assert isinstance(lost, errors.LeaseLost)
    assert lost.lost == ("a", "b", "c")
    odd = await raised(problem("sequence-gap", 409, producer_expected_seq="-1"))
    assert isinstance(odd, errors.SequenceGap)
    assert odd.expected is None


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(500, content=b"\xff\xfe"),
        httpx.Response(404),
        httpx.Response(301, headers={"location": "http://elsewhere/"}),
        httpx.Response(400, text="{", headers={"content-type": "application/problem+json"}),
        httpx.Response(400, text="[]", headers={"content-type": "application/problem+json"}),
        httpx.Response(200, text="hello"),
        httpx.Response(200, headers={"queue-id": "x", "batch-offset": "many"}),
    ],
)
async def test_answers_of_something_else(response: httpx.Response) -> None:
    error = await raised(lambda _: response)
    assert isinstance(error, errors.UnexpectedAnswer)
    assert error.status == response.status_code
    assert "http://x/push/q" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (httpx.ConnectError("refused"), errors.NotSent),
        (httpx.ConnectTimeout(""), errors.NotSent),
        (httpx.PoolTimeout(""), errors.NotSent),
        (StreamRefused("refused"), errors.NotSent),
        (httpx.ReadTimeout(""), errors.OutcomeUnknown),
        (httpx.WriteTimeout(""), errors.OutcomeUnknown),
        (httpx.ReadError(""), errors.OutcomeUnknown),
        (httpx.WriteError(""), errors.OutcomeUnknown),
        (httpx.RemoteProtocolError("gone"), errors.OutcomeUnknown),
        (httpx.CloseError("x"), errors.OutcomeUnknown),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
async def test_faults(fault: httpx.TransportError, kind: type[errors.NetworkFault]) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise fault

    error = await raised(fail)
    assert type(error) is kind
    assert "http://x" in str(error)
    assert error.__cause__ is fault


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://x", "http://", "http://x?a=1", "http://x#f", "http://x:y", "//x"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|server"):
        Client(url)
