"""`${NAME}` inside the texts of a configuration tree. Pure: the variables are handed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from app.config.problems import KeyPath

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|\$\{(?P<wrong>[^}\n]*\}?)")


@dataclass(frozen=True, slots=True)
class Expansion:
    """A text with its variables put in, the names that are unset, and what is no reference."""

    text: str
    names: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    malformed: tuple[str, ...] = ()


def expand(text: str, environ: Mapping[str, str]) -> Expansion:
    """Put variables in; `$${` stands for `${`, every other `$` for itself.

    A variable that is unset or blank is left as it was written. What a variable holds is not
    expanded again.
    """
    names: list[str] = []
    unset: list[str] = []
    malformed: list[str] = []

    def put_in(match: re.Match[str]) -> str:
        if match["wrong"] is not None:
            malformed.append(match[0])
        elif name := match["name"]:
            names.append(name)
            if value := environ.get(name, "").strip():
                return value
            unset.append(name)
        else:
            return "${"
        return match[0]

    result = _REFERENCE.sub(put_in, text)
    return Expansion(result, tuple(names), tuple(unset), tuple(malformed))


def variables(text: str) -> tuple[str, ...]:
    """The names of the variables in a text."""
    return expand(text, {}).names


def map_texts(value: object, change: Callable[[KeyPath, str], str], path: KeyPath = ()) -> object:
    """The same tree with every text (not the keys) replaced by `change(path, text)`."""
    match value:
        case str():
            return change(path, value)
        case dict():
            return {key: map_texts(item, change, (*path, key)) for key, item in value.items()}
        case list():
            return [map_texts(item, change, (*path, at)) for at, item in enumerate(value)]
        case _:
            return value


def texts(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every text of a tree with its path."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in value.items():
                yield from texts(item, (*path, key))
        case list():
            for at, item in enumerate(value):
                yield from texts(item, (*path, at))
