"""Pydantic's errors as problems an operator can mend: path, what was found, what is accepted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.config.expected import expected_at, fields_at, is_mapping_expected, pattern_phrase
from app.config.problems import KeyPath, Place, Problem, accepted, found, nearest
from app.protocol.json_types import JsonObject

NEVER_SHOWN = frozenset({"api_key", "base_url", "proxy", "headers", "query", "extra_body"})
"""Fields that hold secrets, or may: what was found there is described, not quoted."""

_LIMITS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", "≥"),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "≤"),
}


def may_be_secret(path: KeyPath) -> bool:
    """Whether what stands at a path may not be quoted."""
    return any(part in NEVER_SHOWN for part in path)


@dataclass(frozen=True, slots=True)
class Translator:
    """`tree` is the configuration as it was written, before variables were put in."""

    schema: JsonObject
    tree: JsonObject
    places: Mapping[KeyPath, Place]

    def problems(self, error: ValidationError) -> list[Problem]:
        """One problem a path and message; a union's complaints become one."""
        pairs = [
            (path, message)
            for detail in error.errors(include_url=False, include_input=False)
            for path, message in self._translate(detail)
        ]
        shallow = {path for path, _ in pairs if any(_is_below(other, path) for other, _ in pairs)}
        return [
            Problem(nearest(path, self.places), path, message)
            for path, message in pairs
            if path not in shallow or "unknown field" in message
        ]

    def _translate(self, detail: ErrorDetails) -> Iterator[tuple[KeyPath, str]]:
        loc, kind = detail["loc"], detail["type"]
        path = self._path(loc)
        if kind == "default_factory_not_called":
            return  # only follows from what is wrong with the field the default comes of
        if loc[-1:] == ("[key]",):
            yield path, f'the name "{path[-1]}" is not accepted: {_name_rule(detail)}'
        elif kind == "extra_forbidden":
            path = (*path, loc[-1]) if path[-1:] != loc[-1:] else path
            fields = fields_at(self.schema, loc[:-1])
            yield path, f"unknown field; {accepted(fields, str(loc[-1]))}"
        elif kind == "missing":
            expected = expected_at(self.schema, loc)
            yield (*path, loc[-1]), f"is missing, expected {expected or 'a value'}"
        elif kind == "union_tag_invalid":
            tags = detail["ctx"]["expected_tags"].replace("'", "")
            yield (*path, "kind"), f"{found(self._kind(path, detail))}, expected one of {tags}"
        else:
            yield path, self._wrong_value(detail, path)

    def _kind(self, path: KeyPath, detail: ErrorDetails) -> object:
        """As it was written, since pydantic has it with the values of variables."""
        mapping = self._at(path)
        tag = detail["ctx"]["tag"]
        return mapping.get("kind", tag) if isinstance(mapping, dict) else tag

    def _wrong_value(self, detail: ErrorDetails, path: KeyPath) -> str:
        sentence = _sentence(detail)
        if detail["type"] == "value_error" and not sentence.startswith("expected"):
            return sentence
        if detail["type"] == "value_error" and isinstance(self._at(path), dict):
            return sentence
        expected = self._expected(detail)
        return f"{self._found(path, detail)}, {expected}"

    def _expected(self, detail: ErrorDetails) -> str:
        sentence = _sentence(detail)
        if sentence.startswith("expected"):
            return sentence
        if limit := _LIMITS.get(detail["type"]):
            name, sign = limit
            return f"expected a number {sign} {detail['ctx'][name]:g}"
        phrase = expected_at(self.schema, detail["loc"])
        return f"expected {phrase}" if phrase else sentence

    def _found(self, path: KeyPath, detail: ErrorDetails) -> str:
        value = self._at(path)
        hidden = may_be_secret(path)
        mapping = is_mapping_expected(self.schema, detail["loc"])
        if isinstance(value, str) and (hidden or mapping):
            return "found text"
        if hidden and isinstance(value, int | float) and not isinstance(value, bool):
            return "found a number (quote it to make it text)"
        return found(value)

    def _path(self, loc: tuple[str | int, ...]) -> KeyPath:
        """The parts of a loc that are keys of the tree; the others name members of unions."""
        value: object = self.tree
        path: list[str | int] = []
        for part in loc:
            if _has(value, part):
                value = value[part]  # type: ignore[index]
                path.append(part)
        return tuple(path)

    def _at(self, path: KeyPath) -> object:
        value: object = self.tree
        for part in path:
            value = value[part]  # type: ignore[index]
        return value


def _has(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _is_below(path: KeyPath, above: KeyPath) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


def _name_rule(detail: ErrorDetails) -> str:
    pattern = detail.get("ctx", {}).get("pattern")
    return f"expected {pattern_phrase(pattern)}" if pattern else _sentence(detail)


def _sentence(detail: ErrorDetails) -> str:
    text = detail["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
