from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from benchmarks.__main__ import SUITES, arguments, shares
from benchmarks.peers.http import OneLine

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_the_last_suite_gets_all_that_is_left(store: str) -> None:
    fractions = shares(SUITES, store)
    assert [name for name, _ in fractions] == list(SUITES)
    assert fractions[-1][1] == 1
    assert all(0 <= fraction <= 1 for _, fraction in fractions)
    assert (dict(fractions)["sqlite"] > 0) == (store == "sqlite")
    assert (dict(fractions)["shared"] > 0) == (store == "redis")
    assert shares(["copy"], store) == [("copy", 1)]


def test_shares_follow_the_weights() -> None:
    left, given = 1.0, {}
    for name, fraction in shares(SUITES, "sqlite"):
        given[name] = left * fraction
        left -= given[name]
    weights = {name: weight for name, (_, weight) in SUITES.items() if name != "shared"}
    for name, weight in weights.items():
        assert given[name] == pytest.approx(weight / sum(weights.values()))


def test_a_run_says_the_seconds_that_it_took(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    arguments = ["run", "--quick", "--only", "sqlite", "--seconds", "50", "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"s, written to {output}" in done.stderr
    assert "push, SQLite, fsync always" in done.stdout
    saved = json.loads(output.read_text())
    assert 0 <= saved["seconds"] < 50
    assert len(saved["machine"]["load_average_end"]) == 3


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--seconds", "-5"], "'-5' is not a number from 1 to 3600"),
        (["--seconds", "0"], "'0' is not a number"),
        (["--seconds", "nan"], "'nan' is not a number"),
        (["--seconds", "inf"], "'inf' is not a number"),
        (["--seconds", "3601"], "'3601' is not a number"),
        (["--seconds", "soon"], "'soon' is not a number"),
        (["--output", "nowhere/result.json"], "--output: there is no directory nowhere"),
        (["--scratch", "nowhere"], "--scratch: there is no directory nowhere"),
    ],
)
def test_a_run_that_can_not_be_is_refused_before_it_begins(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(["run", *words])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_a_run_takes_its_words(tmp_path: Path) -> None:
    words = ["--seconds", "1.5", "--output", str(tmp_path / "r.json"), "--scratch", str(tmp_path)]
    options = arguments(["run", *words])
    assert (options.seconds, options.scratch) == (1.5, tmp_path)
    assert arguments(["run"]).seconds is None


async def test_no_more_is_pulled_than_was_pushed(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    def answer(request: httpx.Request) -> httpx.Response:
        figure = request.url.path.split("/")[1]
        calls[figure] += 1
        return httpx.Response(200, headers={"Batch-Lines": "1"}, content=b"line\n")

    peer = OneLine(str(tmp_path))
    assert peer.conditions.in_flight > 5
    peer._http = httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url="http://127.0.0.1"
    )
    assert (await peer.push(5))["lines"] == 5
    assert (await peer.pull())["lines"] == 5
    assert calls == {"push": 5, "pull": 5}
    await peer.close()
