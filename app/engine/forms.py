"""The two ways to write a graph, read as one; and the order in which graphs must be compiled."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import count

from app.engine.nodes import NodeSpec
from app.engine.nodes.aggregate import OutputAggregateSpec
from app.engine.nodes.propose import ProposeSpec
from app.engine.nodes.spec import BaseNodeSpec
from app.engine.spec import GraphSpec, LayerSpec
from app.errors import ConfigError


def layer_nodes(layer: LayerSpec, taken: Collection[str] = ()) -> dict[str, NodeSpec]:
    """The nodes of a layer by name, whichever form it is written in.

    In the short form a node is named after its model; a model named again, here or in an earlier
    layer (`taken`), becomes `model#2`, `model#3` …
    """
    if layer.nodes is not None:
        return dict(layer.nodes)
    nodes: dict[str, NodeSpec] = {}
    for model in layer.proposers or ():
        names = (f"{model}#{number}" if number > 1 else model for number in count(1))
        name = next(name for name in names if name not in nodes and name not in taken)
        nodes[name] = ProposeSpec(model=model)
    return nodes


def output_spec(spec: GraphSpec) -> BaseNodeSpec:
    """The output node, whichever form it is written in."""
    if spec.output is not None:
        return spec.output
    return OutputAggregateSpec(model=spec.aggregator or "")


def inner_first(specs: Mapping[str, GraphSpec]) -> list[str]:
    """Graph names so that each comes after the graphs it uses; a cycle is refused."""
    uses = {
        name: [used for used in _models_of(spec) if used in specs] for name, spec in specs.items()
    }
    try:
        return list(TopologicalSorter(uses).static_order())
    except CycleError as circle:
        ring = circle.args[1][:0:-1]
        start = next(name for name in specs if name in ring)
        at = ring.index(start)
        told = " → ".join((*ring[at:], *ring[:at], start))
        raise ConfigError(
            f"graphs use each other in a circle: {told}", path=f"graphs.{start}"
        ) from None


def _models_of(spec: GraphSpec) -> list[str]:
    nodes = [node for layer in spec.layers for node in layer_nodes(layer).values()]
    every = [*nodes, output_spec(spec)]
    gates = [gate for layer in spec.layers for gate in layer.gates().values()]
    return [
        *(name for node in every for name in (node.models_asked() | node.targets()).values()),
        *(name for gate in gates for name in gate.models_asked().values()),
    ]
