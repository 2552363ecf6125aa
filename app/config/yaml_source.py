"""One YAML file: read within limits, parsed without tags or code, every error with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from app.config.problems import KeyPath, Place, refusal
from app.config.yaml_tree import BOOL, FLOAT, INT, MAX_DEPTH, NULL, TAG, TreeReader, hide_references
from app.errors import ConfigError
from app.protocol.json_types import JsonObject

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its mapping and where each path stands."""

    file: Path
    tree: JsonObject
    places: dict[KeyPath, Place]


def read_source(file: Path) -> Source:
    """Read and parse a file.

    Raises ConfigError with line and column for whatever keeps it from being one mapping.
    """
    hidden = hide_references(_text(file))
    reader = TreeReader(file, hidden)
    root = _compose(hidden.text, file)
    tree = reader.value(root, ()) if root is not None else None
    if reader.problems:
        raise refusal(reader.problems)
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else "a list" if isinstance(tree, list) else "a scalar"
        line = root.start_mark.line + 1 if root else 1
        raise ConfigError(
            f"found {found}, expected a mapping such as `graphs: …`", file=f"{file}:{line}"
        )
    return Source(file, tree, reader.places)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", file=str(file)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES:,} bytes", file=str(file))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8 text", file=f"{file}:{line}") from None


class _CoreLoader(yaml.SafeLoader):
    """PyYAML's parser with YAML 1.2's scalars and a limit on nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                problem=f"more than {MAX_DEPTH} levels deep", problem_mark=mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_CoreLoader.yaml_implicit_resolvers = {}
for _name, _pattern in (("null", NULL), ("bool", BOOL), ("int", INT), ("float", FLOAT)):
    _CoreLoader.add_implicit_resolver(TAG + _name, re.compile(rf"(?:{_pattern.pattern})\Z"), None)


def _compose(text: str, file: Path) -> yaml.Node | None:
    loader = None
    try:
        loader = _CoreLoader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"contains the character U+{error.character:04X}, which YAML does not allow"
        raise ConfigError(message, file=f"{file}:{line}") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(error), file=f"{file}{_position(error)}") from None
    except (ValueError, OverflowError):
        # PyYAML converts `\UFFFFFFFF` and the number of a %YAML directive without looking.
        line = loader.line + 1 if loader else 1
        what = "is not valid YAML: found a number or an escaped character that is too large"
        raise ConfigError(what, file=f"{file}:{line}") from None
    return node


def _syntax(error: yaml.MarkedYAMLError) -> str:
    what = " ".join(part for part in (error.context, error.problem) if part)
    hint = "; indent with spaces, not tabs" if "'\\t'" in what else ""
    return f"is not valid YAML: {what}{hint}"


def _position(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""
