"""Tables of every setting and field for people, made from the same schema that checks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from app.config.expected import either, entry_schema, variants
from app.config.schema import config_schema
from app.config.settings import Settings, variable
from app.protocol.json_types import JsonObject

_ANY_NAME = "NAME"


@dataclass(frozen=True, slots=True)
class _Section:
    """A mapping of the file: where it stands and which fields it has."""

    path: str
    schema: JsonObject


def settings_table() -> str:
    """Markdown: one row for each `MOA_*` variable."""
    schema = Settings.model_json_schema()
    rows = [
        (f"`{variable(name)}`", *_cells(field, schema, name in schema.get("required", ())))
        for name, field in schema["properties"].items()
    ]
    return _table(("variable", "accepted", "default", "meaning"), rows)


def field_tables() -> str:
    """Markdown: a heading and a table for each mapping of the configuration file."""
    root = config_schema()
    return "\n\n".join(_section_text(section, root) for section in _sections(root))


def _sections(root: JsonObject) -> Iterator[_Section]:
    """Every mapping with fixed fields, each once, the outermost first."""
    waiting = [_Section("", root)]
    seen: set[str] = set()
    while waiting:
        section = waiting.pop(0)
        title = section.schema.get("title", "")
        if title in seen:
            continue
        seen.add(title)
        yield section
        for name, field in section.schema["properties"].items():
            path = f"{section.path}.{name}" if section.path else name
            waiting += _below(field, path, root)


def _below(schema: JsonObject, path: str, root: JsonObject) -> list[_Section]:
    found: list[_Section] = []
    for variant in variants(schema, root):
        if "properties" in variant:
            found.append(_Section(path, variant))
        elif isinstance(items := variant.get("items"), dict):
            found += _below(items, f"{path}[]", root)
        elif isinstance(entries := entry_schema(variant), dict):
            found += _below(entries, f"{path}.{_ANY_NAME}", root)
    return found


def _section_text(section: _Section, root: JsonObject) -> str:
    kind = section.schema["properties"].get("kind", {}).get("const")
    title = f"`{section.path}`" if section.path else "The file"
    heading = f"### {title}" + (f" with `kind: {kind}`" if kind else "")
    required = section.schema.get("required", ())
    rows = [
        (f"`{name}`", *_cells(field, root, name in required))
        for name, field in section.schema["properties"].items()
    ]
    about = " ".join(str(section.schema.get("description", "")).split())
    return "\n\n".join((heading, about, _table(("field", "accepted", "default", "meaning"), rows)))


def _cells(field: JsonObject, root: JsonObject, required: bool) -> tuple[str, str, str]:  # noqa: FBT001 — a column
    accepted = either(variants(field, root))
    default = "required" if required else _default(field.get("default"))
    meaning = " ".join(str(field.get("description", "")).split())
    return accepted or "anything", default, meaning


def _default(value: object) -> str:
    if value in (None, "", [], {}) or isinstance(value, dict):
        return ""
    return f"`{value if isinstance(value, str) else orjson.dumps(value).decode()}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
