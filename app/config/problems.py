"""What is wrong with a configuration and where; how it becomes one `ConfigError`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from app.errors import ConfigError

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands in the tree: names and list positions from the root."""

LONGEST_FOUND = 60
CUT = "…"
"""Stands for what of a longer text `found` does not quote."""


class NothingToServe(ConfigError):
    """A correct configuration of which nothing is left, because its variables are unset.

    `variables`: each of them would help, some only together.
    """

    def __init__(self, message: str, *, file: str, variables: tuple[str, ...] = ()) -> None:
        super().__init__(message, file=file)
        self.variables = variables


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: what was found and what is accepted, never a secret."""

    place: Place | None
    path: KeyPath
    message: str

    def __str__(self) -> str:
        parts = (str(self.place) if self.place else "", path_text(self.path), self.message)
        return ": ".join(part for part in parts if part)


def path_text(path: KeyPath) -> str:
    """`graphs.moa-lite.layers[0].quorum`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def refusal(problems: Iterable[Problem]) -> ConfigError:
    """All problems as one error, a line each, in the order of the files."""
    lines = sorted(set(problems), key=_order)
    if len(lines) == 1:
        only = lines[0]
        place = str(only.place) if only.place else None
        return ConfigError(only.message, file=place, path=path_text(only.path) or None)
    return ConfigError(f"{len(lines)} problems\n" + "\n".join(str(problem) for problem in lines))


def _order(problem: Problem) -> tuple[str, int, str, str]:
    place = problem.place or Place(Path(), 0)
    return str(place.file), place.line, path_text(problem.path), problem.message


def found(value: object) -> str:
    """A value as the operator wrote it, shortened; containers by their kind."""
    match value:
        case None:
            return "found nothing"
        case bool():
            return f"found {str(value).lower()}"
        case str():
            text = value if len(value) <= LONGEST_FOUND else value[:LONGEST_FOUND] + CUT
            quoted = text.replace("\n", "\\n")
            return f'found "{quoted}"'
        case Mapping():
            return "found a mapping" if value else "found an empty mapping"
        case Sequence():
            return "found a list" if value else "found an empty list"
        case _:
            return f"found {value}"


def accepted(names: Collection[str], wrong: str | None = None) -> str:
    """The accepted names, after the one that was probably meant."""
    if not names:
        return "there is none to choose from"
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6) if wrong else []
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}accepted: {', '.join(sorted(names))}"


def nearest(path: KeyPath, places: Mapping[KeyPath, Place]) -> Place | None:
    """The line of a path, or of the closest thing around it that has one."""
    for length in range(len(path), -1, -1):
        if place := places.get(path[:length]):
            return place
    return None
