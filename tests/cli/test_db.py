from __future__ import annotations

from pathlib import Path

import pytest

from app.store.migrate import newest_version
from tests.cli.conftest import Moa


def test_tables_are_made_once_and_reported(
    moa: Moa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "data" / "moa.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{file}")
    before = moa("db", "status")
    assert (before.exit_code, file.exists()) == (1, False)
    assert f"sqlite+aiosqlite:///{file}\ntables: none yet; run `moa db upgrade`\n" in before.stdout
    for command in ("upgrade", "upgrade", "status"):
        result = moa("db", command)
        assert result.exit_code == 0
        assert f"tables: up to date ({newest_version()})\n" in result.stdout
    assert file.stat().st_mode & 0o777 == 0o600


def test_without_an_address_it_is_in_the_users_data_folder(
    moa: Moa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert str(tmp_path / "moa" / "moa.db") in moa("db", "status").stdout


@pytest.mark.parametrize("command", [("db", "status"), ("db", "upgrade"), ("keys", "list")])
def test_an_address_is_refused_without_showing_its_password(
    moa: Moa, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://root:canary@localhost/moa")
    result = moa(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "DATABASE_URL is none of sqlite+aiosqlite:" in result.stderr
    assert "canary" not in result.output


@pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "status"), ("keys", "list")])
def test_a_database_that_does_not_answer_is_said(
    moa: Moa, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://moa:canary@127.0.0.1:9/moa")
    result = moa(*command)
    assert result.exit_code == 1
    assert "database does not answer" in result.stderr
    assert "127.0.0.1', 9)" in result.stderr  # the address and the reason, as the system tells them
    assert "canary" not in result.output
