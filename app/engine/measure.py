"""What a graph may come to, computed from its shape: calls, depth, length. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from app.engine.graph import Graph, Node
from app.engine.run import GraphModel
from app.interfaces import ChatModel

Measure: TypeAlias = Callable[[Graph], int]


def worst_case_calls(graph: Graph) -> int:
    """Upstream calls of one request if every model fails and every fallback is asked."""
    inner = (node for layer in graph.layers for node in layer.nodes)
    return sum(_calls_of(node) * node.samples for node in inner) + _calls_of(graph.output)


def expected_calls(graph: Graph) -> int:
    """Upstream calls of one request if nothing fails."""
    inner = (node for layer in graph.layers for node in layer.nodes)
    output = _inside(graph.output.models[0], expected_calls)
    return sum(_inside(n.models[0], expected_calls) * n.samples for n in inner) + output


def depth(graph: Graph) -> int:
    """How deep graphs nest; 1 for a graph of plain models."""
    nodes = (*(node for layer in graph.layers for node in layer.nodes), graph.output)
    nested = (m.graph for node in nodes for m in node.models if isinstance(m, GraphModel))
    return 1 + max((depth(inner) for inner in nested), default=0)


def critical_path(graph: Graph) -> int:
    """Upstream calls that wait for one another if nothing fails."""
    layers = (max(_longest(node) for node in layer.nodes) for layer in graph.layers)
    return sum(layers) + _longest(graph.output)


def _calls_of(node: Node) -> int:
    return sum(_inside(model, worst_case_calls) for model in node.models)


def _longest(node: Node) -> int:
    return _inside(node.models[0], critical_path)


def _inside(model: ChatModel, measure: Measure) -> int:
    return measure(model.graph) if isinstance(model, GraphModel) else 1
