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
        is_output = node is graph.output
        asks = node.kind.asks(output_sees(graph) if is_output else references_seen(graph, node))
        if is_output and graph.policy.tools == "pick":
            asks = max(1, asks)  # it judges the candidates, however few references it would see
        return asks * each + _most(node, worst_case_calls)

    return sum(calls(node) * node.samples for node in _nodes(graph))


def expected_calls(graph: Graph) -> int:
    """Upstream calls of one request if nothing fails."""
    return sum(_along(graph, node, expected_calls) * node.samples for node in _nodes(graph))


def layer_calls(graph: Graph, layer: Layer) -> int:
    """Upstream calls of one layer if nothing fails."""
    nodes = (*layer.nodes, *layer.gates)
    return sum(_along(graph, node, expected_calls) * node.samples for node in nodes)


def output_calls(graph: Graph, references: int) -> int:
    """Upstream calls of the output node if nothing fails and it sees so many references."""
    return _calls_along(graph.output, expected_calls, graph.output.kind.asks(references))


def least_output_calls(graph: Graph) -> int:
    """Upstream calls of an output node that asks once, if it asks at all, wherever layers end."""
    asks = graph.output.kind.asks(sum(given_by(graph).values()))
    return _calls_along(graph.output, expected_calls, min(1, asks))


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


def _along(graph: Graph, node: Node, measure: Measure) -> int:
    """A measure of one node's calls, each first model answering."""
    return _calls_along(node, measure, node.kind.asks(references_seen(graph, node)))


def _calls_along(node: Node, measure: Measure, asks: int) -> int:
    first = _inside(node.models[0], measure) if node.models else 0
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


def output_sees(graph: Graph) -> int:
    """How many references the output node sees at most, where a panel may stop early too."""
    given, inputs = given_by(graph), graph.output.inputs
    most, before = references_seen(graph, graph.output), list[str]()
    for layer in graph.layers:
        names = [node.name for node in layer.nodes]
        before += names
        if layer.stop is not None:
            seen = (given[name] for name in before if name in inputs or name in names)
            most = max(most, sum(seen))
    return most
