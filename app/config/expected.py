"""What the schema accepts at a place, in words. Works on the JSON Schema of the specs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from app.config.names import NAME_PATTERN
from app.protocol.json_types import JsonObject

_WORDS = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_PATTERNS = {
    "ms|s|m|h": "a duration such as 500ms, 5s, 2m or 1h",
    "[!#$%&'*+.^_`|~0-9A-Za-z-]+$": "the name of an HTTP header",
    NAME_PATTERN: "up to 128 letters, digits and . _ : / @ + -, beginning with a letter or digit",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def expected_at(schema: JsonObject, loc: Sequence[str | int]) -> str:
    """The accepted values at pydantic's `loc`, such as "an integer ≥ 1"; empty if unknown."""
    return either(variants_at(schema, loc))


def either(members: Iterable[JsonObject]) -> str:
    """The members of a union in words; a decimal number may also be text, which is not told."""
    phrases = [words for words in map(phrase, members) if words]
    if any(words.startswith("a number") for words in phrases):
        phrases = [words for words in phrases if words != "text"]
    return " or ".join(dict.fromkeys(phrases))


def fields_at(schema: JsonObject, loc: Sequence[str | int]) -> tuple[str, ...]:
    """The names of the accepted fields of the mapping at `loc`."""
    names = [name for variant in variants_at(schema, loc) for name in variant.get("properties", ())]
    return tuple(dict.fromkeys(names))


def variants_at(root: JsonObject, loc: Sequence[str | int]) -> list[JsonObject]:
    """The schema variants at `loc`; a part that is no key picks one variant of a union."""
    here = list(variants(root, root))
    for part in loc:
        below = [item for variant in here for item in _children(variant, part, root)]
        here = below or [one for one in here if _is_tagged(one, part)] or here
    return here


def _children(variant: JsonObject, part: str | int, root: JsonObject) -> Iterator[JsonObject]:
    child = None
    if isinstance(part, int):
        child = variant.get("items")
    elif part in variant.get("properties", {}):
        child = variant["properties"][part]
    elif part != "[key]":
        child = entry_schema(variant)
    if isinstance(child, dict):
        yield from variants(child, root)


def entry_schema(variant: JsonObject) -> object:
    """The schema of the values of a mapping with free names, if it is one."""
    patterns = variant.get("patternProperties")
    return next(iter(patterns.values())) if patterns else variant.get("additionalProperties")


def variants(schema: JsonObject, root: JsonObject) -> Iterator[JsonObject]:
    """The schema itself, or the members of the union it is, references resolved."""
    if reference := schema.get("$ref"):
        target = root["$defs"][reference.rpartition("/")[2]]
        yield from variants(target, root)
        return
    members = schema.get("anyOf") or schema.get("oneOf")
    if not members:
        yield schema
        return
    for member in members:
        yield from variants(member, root)


def _is_tagged(variant: JsonObject, tag: str | int) -> bool:
    kind = variant.get("properties", {}).get("kind", {})
    return tag in (variant.get("title"), kind.get("const"))


def phrase(variant: JsonObject) -> str:
    """One schema without unions in words; nothing for null, which an operator leaves out."""
    if words := variant.get("x-accepted"):
        return str(words)
    if "const" in variant:
        return _literal(variant["const"])
    if choices := variant.get("enum"):
        return "one of " + ", ".join(_literal(choice) for choice in choices)
    if variant.get("type") == "null":
        return ""
    words = _WORDS.get(str(variant.get("type")), "")
    if pattern := variant.get("pattern"):
        return pattern_phrase(pattern)
    return " ".join(part for part in (words, _bounds(variant)) if part)


def _bounds(variant: JsonObject) -> str:
    if "minimum" in variant and "maximum" in variant:
        return f"from {variant['minimum']:.15g} to {variant['maximum']:.15g}"
    if (length := variant.get("minLength", 0)) > 1:
        return f"of at least {length} characters"
    if any(variant.get(name) for name in ("minLength", "minItems", "minProperties")):
        return "that is not empty"
    bounds = [f"{sign} {variant[word]:g}" for word, sign in _BOUNDS.items() if word in variant]
    return " and ".join(bounds)


def pattern_phrase(pattern: str) -> str:
    """A regular expression in words."""
    known = (words for part, words in _PATTERNS.items() if part in pattern)
    return next(known, f"text of the form {pattern}")


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def is_mapping_expected(schema: JsonObject, loc: Sequence[str | int]) -> bool:
    """Whether a mapping is among what is accepted at `loc`, and no fixed word is."""
    here = variants_at(schema, loc)
    has_words = any("const" in variant or "enum" in variant for variant in here)
    return not has_words and any(variant.get("type") == "object" for variant in here)
