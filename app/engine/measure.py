"""What a graph may come to, computed from its shape: calls, depth, length. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from app.engine.graph import Chooser, Graph, Layer, Nesting, Node
from app.interfaces import ChatModel

Measure: TypeAlias = Callable[[Graph], int]


def worst_case_calls(graph: Graph) -> int:
    """Upstream calls of one request if every model fails and every fallback is asked."""

    def calls(node: Node) -> int:
        each = sum(_inside(model, worst_case_calls) for model in node.models)
        return node.kind.asks(references_seen(graph, node)) * each + _most(node, worst_case_calls)

    return sum(calls(node) * node.samples for node in _nodes(graph))


def expected_calls(graph: Graph) -> int:
    """Upstream calls of one request if nothing fails."""
    return sum(_along(graph, node, expected_calls) * node.samples for node in _nodes(graph))


def layer_calls(graph: Graph, layer: Layer) -> int:
    """Upstream calls of one layer if nothing fails."""
    nodes = (*layer.nodes, *layer.gates)
    return sum(_along(graph, node, expected_calls) * node.samples for node in nodes)


def output_calls(graph: Graph, *, at_most: int | None = None) -> int:
    """Upstream calls of the output node if nothing fails and it asks so often at most."""
    return _along(graph, graph.output, expected_calls, at_most)


def depth(graph: Graph) -> int:
    """How deep graphs nest; 1 for a graph of plain models."""
    models = (model for node in _nodes(graph) for model in (*node.models, *node.targets))
    nested = (model.graph for model in models if isinstance(model, Nesting))
    return 1 + max((depth(inner) for inner in nested), default=0)


def critical_path(graph: Graph) -> int:
    """Upstream calls that wait for one another if nothing fails."""
    layers = (
        max(_along(graph, node, critical_path) for node in layer.nodes) for layer in graph.layers
    )
    gates = (gate for layer in graph.layers for gate in layer.gates)
    one_by_one = sum(_along(graph, node, critical_path) for node in (*gates, graph.output))
    return sum(layers) + one_by_one


def references_of(node: Node, seen: int) -> int:
    """How many references a node gives at most, if it sees so many."""
    return node.kind.gives(seen) if isinstance(node.kind, Chooser) else node.samples


def given_by(graph: Graph) -> dict[str, int]:
    """How many references each node of a layer gives at most, by its name."""
    given: dict[str, int] = {}
    for node in (node for layer in graph.layers for node in layer.nodes):
        given[node.name] = references_of(node, sum(given.get(name, 0) for name in node.inputs))
    return given


def _along(graph: Graph, node: Node, measure: Measure, at_most: int | None = None) -> int:
    """A measure of one node's calls, each first model answering, if it asks so often at most."""
    first = _inside(node.models[0], measure) if node.models else 0
    asks = node.kind.asks(references_seen(graph, node))
    asks = asks if at_most is None else min(asks, at_most)
    return asks * first + _most(node, measure)


def _most(node: Node, measure: Measure) -> int:
    return max((_inside(target, measure) for target in node.targets), default=0)


def _inside(model: ChatModel, measure: Measure) -> int:
    return measure(model.graph) if isinstance(model, Nesting) else 1


def _nodes(graph: Graph) -> Iterator[Node]:
    for layer in graph.layers:
        yield from (*layer.nodes, *layer.gates)
    yield graph.output


def references_seen(graph: Graph, reader: Node) -> int:
    """How many references a node sees at most."""
    return sum(given_by(graph).get(name, 0) for name in reader.inputs)
