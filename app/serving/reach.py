"""Which upstreams a request to a name may reach: by any deployment, fallback, target or gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.config.schema import Config
from app.engine.graph import Graph
from app.engine.graph_model import GraphModel
from app.interfaces import ChatModel


def reachable(config: Config, graphs: Mapping[str, GraphModel]) -> dict[str, frozenset[str]]:
    """The upstreams of every model and graph, those of nested graphs included."""
    found = {name: _of_model(config, name) for name in config.models}

    def of(name: str) -> frozenset[str]:
        if name not in found:
            asked = _asked(graphs[name].graph)
            found[name] = frozenset[str]().union(*(of(model.name) for model in asked))
        return found[name]

    return {name: of(name) for name in (*graphs, *config.models)}


def _of_model(config: Config, name: str) -> frozenset[str]:
    """A fallback is asked without its own fallbacks; to count those too would do no harm."""
    spec = config.models[name]
    asked = (spec, *(config.models[other] for other in spec.fallback))
    return frozenset(entry.upstream for each in asked for entry in each.entries())


def _asked(graph: Graph) -> Iterator[ChatModel]:
    layers = graph.layers
    nodes = [node for layer in layers for node in (*layer.nodes, *layer.gates)]
    for node in (*nodes, graph.output):
        yield from (*node.models, *node.targets)
