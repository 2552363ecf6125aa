"""Checks of pools across sections: where their deployments stand, and what they fall back to.

Works on trees that may still be malformed, as `names` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.config.names import section
from app.config.problems import KeyPath, Place, Problem, accepted, found, nearest
from app.protocol.json_types import JsonObject


def pool_problems(tree: JsonObject, places: Mapping[KeyPath, Place]) -> Iterator[Problem]:
    """Unknown upstreams, fallbacks that are no other pool, hedges without a second.

    Pools may name each other: no fallback of a fallback is asked.
    """
    for path, message in (*_upstreams(tree), *_hedges(tree), *_fallbacks(tree)):
        yield Problem(nearest(path, places), path, message)


def pools(tree: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """The models that are mappings, by name."""
    for name, model in section(tree, "models").items():
        if isinstance(model, dict):
            yield name, model


def placed(name: str, model: JsonObject) -> Iterator[tuple[KeyPath, str]]:
    """The upstreams a pool names, each with its path, the short form's first."""
    if isinstance(upstream := model.get("upstream"), str):
        yield ("models", name, "upstream"), upstream
    for at, deployment in enumerate(_list(model, "deployments")):
        upstream = deployment.get("upstream") if isinstance(deployment, dict) else None
        if isinstance(upstream, str):
            yield ("models", name, "deployments", at, "upstream"), upstream


def fallbacks(name: str, model: JsonObject) -> Iterator[tuple[KeyPath, str]]:
    """The pools a pool falls back to, each with its path."""
    for at, other in enumerate(_list(model, "fallback")):
        if isinstance(other, str):
            yield ("models", name, "fallback", at), other


def _list(model: JsonObject, field: str) -> list[object]:
    value = model.get(field)
    return value if isinstance(value, list) else []


def _upstreams(tree: JsonObject) -> Iterator[tuple[KeyPath, str]]:
    known = section(tree, "upstreams")
    for name, model in pools(tree):
        for path, upstream in placed(name, model):
            if upstream not in known:
                problem = f"{found(upstream)}, which is no upstream; {accepted(known, upstream)}"
                yield path, problem


def _hedges(tree: JsonObject) -> Iterator[tuple[KeyPath, str]]:
    """Asked of the file as it was written: what is left out later may leave one deployment."""
    for name, model in pools(tree):
        hedge = model.get("hedge")
        if hedge is not None and hedge != "off" and len(_list(model, "deployments")) <= 1:
            message = (
                f"{found(hedge)}, but the pool has one deployment and no second to ask; "
                'expected "off", or two `deployments` at least'
            )
            yield ("models", name, "hedge"), message


def _fallbacks(tree: JsonObject) -> Iterator[tuple[KeyPath, str]]:
    models = section(tree, "models")
    for name, model in pools(tree):
        others = [other for other in models if other != name]
        seen: set[str] = set()
        for path, other in fallbacks(name, model):
            if what := _no_fallback(other, name, seen, tree):
                yield path, f"{found(other)}, {what}; {accepted(others, other)}"
            seen.add(other)


def _no_fallback(other: str, name: str, seen: set[str], tree: JsonObject) -> str:
    """Why a name cannot stand there; empty where it can."""
    if other == name:
        return "which is the pool itself"
    if other in seen:
        return "which is in the list already"
    if other in section(tree, "models"):
        return ""
    if other in section(tree, "graphs"):
        return "which is a graph; a pool falls back to other pools"
    if other in section(tree, "aliases"):
        return "which is an alias; name its target"
    return "which is no model"
