from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.cli.conftest import Moa


@pytest.fixture(autouse=True)
def _own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'moa.db'}")
    monkeypatch.delenv("REDIS_URL", raising=False)


def test_a_team_is_made_shown_changed_and_listed(moa: Moa) -> None:
    made = orjson.loads(
        moa(
            "teams", "create", "research", "--budget", 100, "--budget-window", "month", "--json"
        ).stdout
    )
    assert (made["object"], made["name"], made["budget"]) == ("team", "research", 100.0)
    changed = moa("teams", "update", "research", "--name", "lab", "--rpm", 5, "--models", "duo")
    assert "team: lab\n" in changed.stdout
    shown = moa("teams", "show", made["id"]).stdout
    assert "limits: $100 a month, 5 requests/min\n" in shown
    assert "budget: $0.000000 spent, $0.000000 reserved, $100.000000 left until " in shown
    assert "models: duo\n" in shown
    assert [team["name"] for team in orjson.loads(moa("teams", "list", "--json").stdout)] == ["lab"]
    assert made["id"] in moa("teams", "list").stdout


def test_a_deleted_team_takes_its_keys_along(moa: Moa) -> None:
    moa("teams", "create", "research")
    moa("keys", "create", "alice", "--team", "research")
    moa("keys", "create", "bob")
    assert "its keys are revoked" in moa("teams", "delete", "research").stdout
    assert [key["name"] for key in orjson.loads(moa("keys", "list", "--json").stdout)] == ["bob"]
    unknown = moa("teams", "show", "research")
    assert unknown.exit_code == 1
    assert (
        "There is no such team: give a name or an id that `moa teams list` shows" in unknown.stderr
    )


def test_a_team_has_no_rights_and_a_wrong_limit_is_said(moa: Moa) -> None:
    assert moa("teams", "create", "research", "--rights", "call").exit_code == 2
    refused = moa("teams", "create", "research", "--tpm", "-1")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--tpm: found '-1', expected a whole number, or none" in refused.stderr
