"""What every error of the server looks like."""

from __future__ import annotations

import json
from typing import Any

import httpx


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Checks that an answer is a problem (RFC 9457) of one line, and gives its fields."""
    return problem_in(
        answer.content, answer.headers["content-type"], answer.status_code, status, code
    )


def problem_in(body: bytes, kind: str, told: int, status: int, code: str) -> dict[str, Any]:
    """The same of a body and its type."""
    assert told == status, body
    assert kind == "application/problem+json"
    assert body.endswith(b"}\n")
    assert body.count(b"\n") == 1
    assert b"Traceback" not in body
    fields: dict[str, Any] = json.loads(body)
    assert set(fields) == {"type", "title", "status", "detail", "code"}
    assert fields["status"] == status
    assert fields["code"] == code
    assert fields["type"] == f"urn:problem-type:batchq:{code}"
    assert fields["detail"]
    return fields
