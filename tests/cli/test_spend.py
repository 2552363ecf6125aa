from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import pytest

from app.access.register import GroupBy
from tests.cli.conftest import Moa
from tests.cli.serving import PATIENCE, Serve

GROUPS: tuple[GroupBy, ...] = ("key", "team", "graph", "model")


@pytest.fixture(autouse=True)
def _own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'moa.db'}")
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.fixture
def spent(moa: Moa, serve: Serve, config: Path) -> float:
    """What a question to a graph of three calls came to, booked for alice of the team lab."""
    moa("teams", "create", "lab")
    key = moa("keys", "create", "alice", "--team", "lab").stdout.strip()
    server = serve("--config", config)
    answer = httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": "duo", "messages": [{"role": "user", "content": "hello"}]},
        headers={"authorization": f"Bearer {key}"},
        timeout=PATIENCE,
    )
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    return float(answer.json()["usage"]["cost"])


def test_every_table_adds_up_to_what_was_spent(moa: Moa, spent: float) -> None:
    report = orjson.loads(moa("spend", "--format", "json").stdout)
    assert tuple(report) == GROUPS
    today = str(datetime.now(UTC).date())
    for table in report.values():
        assert table["total"]["cost"] == pytest.approx(spent)
        assert table["total"]["calls"] == 3
        assert (table["from"], table["to"]) == (f"{today[:8]}01", today)
    names = {by: [line["name"] for line in report[by]["data"]] for by in GROUPS}
    assert (names["key"], names["team"], names["graph"]) == (["alice"], ["lab"], ["duo"])
    assert len(names["model"]) == 2
    shown = moa("spend").stdout
    assert [head for head in ("KEY", "TEAM", "GRAPH", "MODEL") if f"\n{head} " not in shown] == []
    assert shown.count("\ntotal ") == 4


def test_one_table_as_csv(moa: Moa, spent: float) -> None:
    rows = list(csv.DictReader(io.StringIO(moa("spend", "--by", "team", "--format", "csv").stdout)))
    assert [(row["name"], row["calls"]) for row in rows] == [("lab", "3")]
    assert float(rows[0]["cost_usd"]) == pytest.approx(spent)


def test_days_without_calls_are_empty(moa: Moa) -> None:
    days = ("--from", "2025-01-01", "--to", "2025-01-31", "--by", "key")
    assert orjson.loads(moa("spend", *days, "--format", "json").stdout)["data"] == []
    assert moa("spend", *days).stdout.startswith("from 2025-01-01 to 2025-01-31, in UTC\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "January"), "--from: found 'January', expected a day such as 2027-01-31"),
        (("--by", "day"), "--by: found 'day', expected key, team, graph, model"),
        (("--format", "xml"), "--format: found 'xml', expected table, json, csv"),
        (("--from", "2025-02-01", "--to", "2025-01-01"), "--from: 2025-02-01 is after 2025-01-01"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    moa: Moa, arguments: tuple[str, ...], words: str
) -> None:
    result = moa("spend", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"moa: {words}\n")
