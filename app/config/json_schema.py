"""Writes what is generated from the specs: `config/schema.json` and tables in the documentation.

Run as `python -m app.config.json_schema`; with `--check` it writes nothing and fails if a file is
not as it would be written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from app.config.reference import field_tables, settings_table
from app.config.schema import config_schema
from app.protocol.json_types import JsonObject

SCHEMA = Path("config/schema.json")
DOCUMENT = Path("docs/configuration.md")


def schema_text() -> str:
    """The JSON Schema of a configuration file, for editors."""
    schema = _closed(config_schema())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MoA Gateway configuration",
    }
    return orjson.dumps(schema | head, option=orjson.OPT_INDENT_2).decode() + "\n"


def _closed(schema: JsonObject) -> JsonObject:
    """The same schema, refusing names that match no pattern, as the specs do."""
    for value in schema.values():
        for member in value if isinstance(value, list) else [value]:
            if isinstance(member, dict):
                _closed(member)
    if "patternProperties" in schema:
        schema["additionalProperties"] = False
    return schema


def document_text(document: str) -> str:
    """The document with fresh tables between its markers."""
    for name, table in (("settings", settings_table()), ("fields", field_tables())):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, _, rest = document.partition(begin)
        _, _, after = rest.partition(end)
        document = f"{before}{begin}\n{table}\n{end}{after}"
    return document


def stale(root: Path) -> dict[Path, str]:
    """The generated files under a folder that differ from what they should be, with that text."""
    document = root / DOCUMENT
    fresh = {
        root / SCHEMA: schema_text(),
        document: document_text(document.read_text("utf-8")),
    }
    return {
        file: text
        for file, text in fresh.items()
        if not file.is_file() or file.read_text("utf-8") != text
    }


def main(arguments: list[str]) -> int:
    """Write or check; 1 if a file was stale and may not be written."""
    differing = stale(Path())
    for file, text in differing.items():
        if "--check" in arguments:
            sys.stderr.write(f"{file} is stale: run python -m app.config.json_schema\n")
        else:
            file.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {file}\n")
    return 1 if differing and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
