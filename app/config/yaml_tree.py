"""A parsed YAML document as a plain tree with the line of every path.

Scalars follow YAML 1.2's core schema, so `off`, `yes` and `2026-01-01` are text. Duplicate keys,
tags, merge keys and documents that blow up through aliases are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from app.config.problems import KeyPath, Place, Problem, refusal

MAX_VALUES = 50_000
MAX_TEXT = 4 * 1024 * 1024
MAX_DEPTH = 40

TAG = "tag:yaml.org,2002:"
NULL = re.compile(r"~|null|Null|NULL|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBERS = {"int": INT, "float": FLOAT}
_REFERENCE = re.compile(r"\$\{([^{}\s\"'#,]*)\}")
_PRIVATE = range(0xF0000, 0xFFFFE, 2)
_LARGEST = 2**53
_MOST_DIGITS = 40
NO_UNICODE = "is not valid Unicode text"


@dataclass(frozen=True, slots=True)
class Hidden:
    """A document, as long, without the braces of `${NAME}`: YAML would read a mapping.

    `braces` stand in their place: two private characters that it holds in no other way.
    """

    text: str
    braces: str

    def as_written(self, text: str) -> str:
        """A text of the document with its braces put back."""
        return text.translate(str.maketrans(self.braces, "{}"))


def hide_references(text: str) -> Hidden:
    """The document for a YAML parser."""
    taken = text.lower()
    first = next((code for code in _PRIVATE if not _occurs(code, taken)), _PRIVATE[0])
    braces = chr(first) + chr(first + 1)
    return Hidden(_REFERENCE.sub(rf"${braces[0]}\1{braces[1]}", text), braces)


def _occurs(code: int, text: str) -> bool:
    """Whether this character or the next may come of the text, as itself or as an escape."""
    return any(chr(each) in text or f"{each:08x}" in text for each in (code, code + 1))


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(slots=True)
class TreeReader:
    """Turns nodes into values, noting lines and problems on the way."""

    file: Path
    hidden: Hidden
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    values: int = 0
    text: int = 0

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        """The plain value of a node; where it cannot be one, a problem and None."""
        self.places.setdefault(path, self._place(node))
        self._weigh(node, path)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{TAG}map":
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAG}seq":
            return [self.value(item, (*path, at)) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._refuse(node, path, f"the tag {node.tag} is not accepted; plain YAML only")
        return None

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, object]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, path, "found a list or mapping as a key, expected text")
                continue
            name = self.hidden.as_written(key.value)
            if not is_unicode(name):
                self._refuse(key, path, NO_UNICODE)
            elif name == "<<" and key.style is None:
                self._refuse(key, path, "merge keys (<<) are not accepted; write the fields out")
            elif name in seen:
                message = f"defined twice, first in line {seen[name]}"
                self._refuse(key, (*path, name), message)
            else:
                seen[name] = key.start_mark.line + 1
                self.places[*path, name] = self._place(key)
                yield name, self.value(value, (*path, name))

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        text = node.value
        match node.tag.removeprefix(TAG):
            case "str" if is_unicode(text):
                return self.hidden.as_written(text)
            case "str":
                self._refuse(node, path, NO_UNICODE)
                return None
            case "null" if NULL.fullmatch(text):
                return None
            case "bool" if BOOL.fullmatch(text):
                return text.lower() == "true"
            case "int" | "float" as kind if _NUMBERS[kind].fullmatch(text):
                return self._number(node, path)
        self._refuse(node, path, f"the tag {node.tag} is not accepted; plain YAML only")
        return None

    def _number(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        number: float = float("inf")
        if len(node.value) <= _MOST_DIGITS:
            base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
            is_int = node.tag == f"{TAG}int"
            number = int(node.value, base) if is_int else float(node.value)
        if abs(number) <= _LARGEST:
            return number
        self._refuse(node, path, "the number is too large")
        return None

    def _weigh(self, node: yaml.Node, path: KeyPath) -> None:
        self.values += 1
        self.text += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        if self.values > MAX_VALUES or self.text > MAX_TEXT or len(path) > MAX_DEPTH:
            message = (
                f"too large once aliases are followed: at most {MAX_VALUES:,} values, "
                f"{MAX_TEXT:,} characters and {MAX_DEPTH} levels are accepted"
            )
            raise refusal([Problem(self._place(node), path, message)])

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1)

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self._place(node), path, message))
