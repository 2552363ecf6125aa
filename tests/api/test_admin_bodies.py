"""What may be asked of the admin API."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.api.admin_bodies import KeyWanted


@pytest.mark.parametrize("name", ["ada", "Ada Lovelace", "=1+1", "Ünï 漢字", "a"])
def test_a_name_is_any_line_of_text(name: str) -> None:
    assert KeyWanted(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a\nb", "a\x00b", "a\x1b[2Jb", "a\x9bb", "a\u202eb", "a\u2066b"]
)
def test_a_name_has_no_characters_that_a_terminal_would_obey(name: str) -> None:
    with pytest.raises(ValidationError):
        KeyWanted(name=name)
