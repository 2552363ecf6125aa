"""`moa attacks`: the table of hostile proposals."""

from __future__ import annotations

from pathlib import Path

import anyio

from app.cli.attacks import between_markers, row, run
from app.engine.attacks import ATTACKS
from tests.cli.conftest import Moa

SECURITY = Path(__file__).parents[2] / "docs/security.md"


def test_every_attack_has_its_row(moa: Moa) -> None:
    result = moa("attacks", "--markdown")
    assert result.exit_code == 0
    rows = result.stdout.splitlines()
    assert len(rows) == len(ATTACKS) + 2
    assert [line.split(" | ")[0] for line in rows[2:]] == [f"| {a.name}" for a in ATTACKS]


def test_the_table_for_a_terminal_has_nothing_in_it_that_a_terminal_obeys(moa: Moa) -> None:
    shown = moa("attacks").stdout
    assert "fake fence" in shown
    assert "left out: an outlier" in shown
    assert not set(shown) & {"\x1b", "\x07", "\x00", "\u202e", "\u200b"}


def test_the_table_in_the_documentation_is_what_happens() -> None:
    rows = [row(attack, anyio.run(run, attack)) for attack in ATTACKS]
    text = SECURITY.read_text("utf-8")
    assert between_markers(text, rows) == text, "run moa attacks --write docs/security.md"


def test_writing_replaces_what_stands_between_the_markers_alone(moa: Moa, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- attacks:begin -->\nold\n<!-- attacks:end -->\nafter\n")
    assert moa("attacks", "--write", page).exit_code == 0
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- attacks:begin -->\n| attack | aim |")
    assert text.endswith("<!-- attacks:end -->\nafter\n")
    assert "old" not in text
