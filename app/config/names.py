"""Checks across sections: every name means one thing, and what it points at exists.

Works on trees that may still be malformed, so that all problems of a file come out together. What
a pool names is checked by `pools`; the names inside a graph are the engine's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.config.problems import KeyPath, Place, Problem, accepted, nearest
from app.protocol.json_types import JsonObject

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$"
"""Names are seen in URLs, headers, logs and metrics, so they are plain characters."""


def name_problems(tree: JsonObject, places: Mapping[KeyPath, Place]) -> Iterator[Problem]:
    """Names that are a model and a graph, aliases that lead nowhere or twice."""
    for path, message in (*_twofold(tree), *_aliases(tree)):
        yield Problem(nearest(path, places), path, message)


def section(tree: JsonObject, name: str) -> JsonObject:
    """A section of the tree, empty if it is missing or no mapping."""
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _twofold(tree: JsonObject) -> Iterator[tuple[KeyPath, str]]:
    models = section(tree, "models")
    for name in section(tree, "graphs"):
        if name in models:
            yield ("graphs", name), "is also a model; a name is a model or a graph, never both"


def _aliases(tree: JsonObject) -> Iterator[tuple[KeyPath, str]]:
    aliases = section(tree, "aliases")
    served = section(tree, "models") | section(tree, "graphs")
    for alias, target in aliases.items():
        path: KeyPath = ("aliases", alias)
        if alias in served:
            kind = "graph" if alias in section(tree, "graphs") else "model"
            yield path, f"is also a {kind}, which the alias would hide"
        elif not isinstance(target, str):
            continue
        elif target in aliases and target not in served:
            yield path, f'found "{target}", which is an alias itself; name its target'
        elif target not in served:
            message = f'found "{target}", which is no model or graph; {accepted(served, target)}'
            yield path, message
