"""Every command of docs/keys.md, in the order of the page, on a database of its own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.docs.pages import ROOT, blocks


def test_the_page_can_be_followed_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'moa.db'}")
    page = [block for block in blocks("sh") if block.page == ROOT / "docs/keys.md"]
    lines = [line for block in page for line in block.text.splitlines()]
    commands = [re.sub(r"^KEY=\$\((.*)\)$", r"\1", line) for line in lines]
    for command in commands:
        name, *arguments = shlex.split(command)
        result = CliRunner().invoke(app, arguments)
        assert (name, result.exit_code) == ("moa", 0), f"{command}: {result.output}"
    assert len(commands) > 15
