"""Advice on single nodes and their models: who is too weak, too narrow, or judges itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.estimate import TYPICAL_ANSWER, TYPICAL_PROMPT, embeds
from app.engine.forwarding import output_cap
from app.engine.graph import Graph, Node, Writer
from app.engine.measure import given_by
from app.engine.nodes.reduce import Reduce
from app.engine.references import share_of
from app.engine.requests import RESERVED_OUTPUT
from app.interfaces import ChatModel

_JUDGING = frozenset({"critique", "select", "stop", "vote"})
ON_ONE = frozenset({"critique", "refine", "revise"})
"""Kinds that are at home with a single answer."""
_CHOOSING = frozenset({"select", "vote"})


def on_strengths(graph: Graph) -> Iterator[str]:
    """One who makes one answer of many and is ranked below a model that wrote some of them."""
    nodes = {node.name: node for layer in graph.layers for node in layer.nodes}
    alone = (layer.nodes[0] for layer in graph.layers if len(layer.nodes) == 1)
    for node in (*alone, graph.output):
        mine = _strength(node)
        known = [
            (strength, name)
            for name in _authors(node, nodes)
            if (strength := _strength(nodes[name])) is not None
        ]
        if mine is None or not known or max(known)[0] <= mine:
            continue
        strength, name = max(known)
        yield (
            f"{node.name}: {node.models[0].name} (strength {mine:g}) works on what "
            f"{nodes[name].models[0].name} (strength {strength:g}) wrote and may spoil it: "
            "let the stronger model do this"
        )


def on_judges(graph: Graph) -> Iterator[str]:
    """A judge with nothing to compare, or with nothing before it but its own model's words."""
    given = given_by(graph)
    nodes = {node.name: node for layer in graph.layers for node in layer.nodes}
    for node in readers(graph):
        seen = [name for name in node.inputs if given[name]]
        if node.word not in _JUDGING or sum(given[name] for name in seen) != 1:
            continue
        author = nodes[seen[0]]
        if node.models and author.models and node.models[0].name == author.models[0].name:
            if _has_other_judge(graph, node, author):
                continue
            yield (
                f"{node.name}: {node.models[0].name} judges its own only answer, that of "
                f"{author.name}: let another model judge, or add proposers"
            )
        elif node.word in _CHOOSING:
            yield (
                f"{node.name} has one reference to choose from, that of {author.name}: "
                "add proposers or `samples`"
            )


def on_reducers(graph: Graph) -> Iterator[str]:
    """A window that takes everything at once."""
    given = given_by(graph)
    for node in readers(graph):
        seen = sum(given[name] for name in node.inputs)
        if isinstance(node.kind, Reduce) and 0 < seen <= node.kind.window:
            yield (
                f"{node.name}: a window of {node.kind.window} takes its {seen} references at "
                "once, as `aggregate` does: make `window` smaller or add references"
            )


def on_windows(graph: Graph) -> Iterator[str]:
    """A model whose context window has too little room for the references it is shown."""
    given = given_by(graph)
    needed = min(TYPICAL_ANSWER, graph.policy.max_reference_tokens)
    for node in readers(graph):
        count = sum(given[name] for name in node.inputs)
        if isinstance(node.kind, Reduce):
            count = min(count, node.kind.window)
        for model in () if embeds(node) else node.models:
            share = _share(node, model, count)
            if share is not None and share < needed:
                yield (
                    f"{node.name}: the context window of {model.name} "
                    f"({model.abilities.context} tokens) leaves {share} tokens for each of "
                    f"{count} references after a conversation of {TYPICAL_PROMPT}: they will be "
                    "cut; choose a model with a larger window or fewer inputs"
                )


def readers(graph: Graph) -> Iterator[Node]:
    """All nodes and gates, in order, the output node last."""
    for layer in graph.layers:
        yield from layer.nodes
        yield from layer.gates
    yield graph.output


def _has_other_judge(graph: Graph, judge: Node, author: Node) -> bool:
    """Whether a critic of another model sees the answer too."""
    return any(
        node.word == judge.word == "critique"
        and author.name in node.inputs
        and node.models[0].name != judge.models[0].name
        for node in readers(graph)
    )


def _strength(node: Node) -> float | None:
    return node.models[0].abilities.strength if node.models else None


def _authors(node: Node, nodes: dict[str, Node]) -> Iterator[str]:
    """Who wrote what a node sees: whoever only chose it is passed through."""
    for name in node.inputs:
        if isinstance(nodes[name].kind, Writer):
            yield name
        else:
            yield from _authors(nodes[name], nodes)


def _share(node: Node, model: ChatModel, count: int) -> int | None:
    """Tokens for each reference; None where nothing is ever trimmed."""
    abilities = model.abilities
    if not count or abilities.context is None:
        return None
    reserved = output_cap(node.params) or abilities.max_output or RESERVED_OUTPUT
    return share_of(abilities.context - TYPICAL_PROMPT - reserved, count)
