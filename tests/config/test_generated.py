import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from app.config.json_schema import DOCUMENT, SCHEMA, document_text, main, schema_text, stale
from app.config.reference import settings_table
from app.config.schema import Config
from app.config.settings import Settings, variable
from app.config.yaml_source import read_source

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "config").rglob("*.yaml"))


def test_schema_and_documentation_are_as_the_specs_say():
    assert list(stale(ROOT)) == [], "run python -m app.config.json_schema"


def test_what_is_generated_does_not_depend_on_what_was_imported_before():
    """Python keeps one of equal unions, and `Literal`s are equal in any order."""
    code = """
from typing import Literal, Optional
Optional[Literal["high", "low", "medium"]]
Optional[Literal["xhigh", "high", "medium", "low", "minimal", "none"]]
from app.config.json_schema import schema_text
print(schema_text(), end="")
"""
    found = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == schema_text()


def test_the_schema_is_valid_and_takes_every_shipped_file():
    schema = json.loads((ROOT / SCHEMA).read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert FILES
    for file in FILES:
        assert [error.message for error in validator.iter_errors(read_source(file).tree)] == []


@pytest.mark.parametrize(
    "tree",
    [
        {"graphs": {"g": {"layers": [{"proposers": ["m"], "quorum": "four"}], "aggregator": "m"}}},
        {"graphs": {"g": {"layers": [{"proposers": ["m"]}], "aggregator": "m", "unknown": 1}}},
        {"models": {"m": {"model": "m"}}},
        {"models": {"a b": {"upstream": "u", "model": "m"}}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(tree):
    schema = json.loads((ROOT / SCHEMA).read_text("utf-8"))
    assert not jsonschema.Draft202012Validator(schema).is_valid(tree)


def test_every_field_of_every_spec_has_a_description():
    schema = Config.model_json_schema()
    specs = {"Config": schema} | schema["$defs"]
    silent = [
        f"{name}.{field}"
        for name, spec in specs.items()
        for field, about in spec.get("properties", {}).items()
        if not about.get("description")
    ]
    assert silent == []


def test_every_setting_and_every_field_is_in_the_documentation():
    document = (ROOT / DOCUMENT).read_text("utf-8")
    assert all(f"| `{variable(name)}` |" in document for name in Settings.model_fields)
    schema = Config.model_json_schema()
    for spec in (schema, *schema["$defs"].values()):
        assert all(f"| `{field}` |" in document for field in spec.get("properties", {}))


def test_only_what_stands_between_the_markers_is_replaced():
    text = "before\n<!-- settings:begin -->\nold\n<!-- settings:end -->\nafter\n"
    text += "<!-- fields:begin -->\nold\n<!-- fields:end -->\nend\n"
    fresh = document_text(text)
    assert fresh.startswith("before\n<!-- settings:begin -->\n| variable |")
    assert "<!-- settings:end -->\nafter\n<!-- fields:begin -->\n### The file" in fresh
    assert fresh.endswith("<!-- fields:end -->\nend\n")
    assert settings_table() in fresh
    assert document_text(fresh) == fresh


def test_the_check_fails_until_the_files_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / DOCUMENT).write_text("<!-- settings:begin --><!-- settings:end -->x")
    assert main(["--check"]) == 1
    assert "schema.json is stale" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_the_example_in_the_documentation_loads(folder):
    document = (ROOT / DOCUMENT).read_text("utf-8")
    example = document.split("```yaml\n")[1].split("```")[0]
    loaded = folder.load(example, {"OPENAI_API_KEY": "k", "TOGETHER_API_KEY": "k"})
    assert set(loaded.config.graphs) == {"panel"}
