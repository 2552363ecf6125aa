"""What a graph may come to, computed from its shape: calls, depth, length. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from app.engine.graph import Chooser, Graph, Node
from app.engine.run import GraphModel
from app.interfaces import ChatModel

Measure: TypeAlias = Callable[[Graph], int]


def worst_case_calls(graph: Graph) -> int:
    """Upstream calls of one request if every model fails and every fallback is asked."""

    def calls(node: Node) -> int:
        each = sum(_inside(model, worst_case_calls) for model in node.models)
        return node.kind.asks(_seen(graph, node)) * each + _most(node, worst_case_calls)

    return sum(calls(node) * node.samples for node in _nodes(graph))


def expected_calls(graph: Graph) -> int:
    """Upstream calls of one request if nothing fails."""
    return sum(_along(graph, node, expected_calls) * node.samples for node in _nodes(graph))


def depth(graph: Graph) -> int:
    """How deep graphs nest; 1 for a graph of plain models."""
    models = (model for node in _nodes(graph) for model in (*node.models, *node.targets))
    nested = (model.graph for model in models if isinstance(model, GraphModel))
    return 1 + max((depth(inner) for inner in nested), default=0)


def critical_path(graph: Graph) -> int:
    """Upstream calls that wait for one another if nothing fails."""
    layers = (
        max(_along(graph, node, critical_path) for node in layer.nodes) for layer in graph.layers
    )
    return sum(layers) + _along(graph, graph.output, critical_path)


def references_of(node: Node, seen: int) -> int:
    """How many references a node gives at most, if it sees so many."""
    return seen if isinstance(node.kind, Chooser) else node.samples


def _along(graph: Graph, node: Node, measure: Measure) -> int:
    """A measure of one node's calls, each first model answering."""
    first = _inside(node.models[0], measure) if node.models else 0
    return node.kind.asks(_seen(graph, node)) * first + _most(node, measure)


def _most(node: Node, measure: Measure) -> int:
    return max((_inside(target, measure) for target in node.targets), default=0)


def _inside(model: ChatModel, measure: Measure) -> int:
    return measure(model.graph) if isinstance(model, GraphModel) else 1


def _nodes(graph: Graph) -> Iterator[Node]:
    for layer in graph.layers:
        yield from layer.nodes
    yield graph.output


def _seen(graph: Graph, reader: Node) -> int:
    """How many references a node sees at most."""
    given: dict[str, int] = {}
    for node in _nodes(graph):
        seen = sum(given.get(name, 0) for name in node.inputs)
        if node is reader:
            return seen
        given[node.name] = references_of(node, seen)
    return 0
