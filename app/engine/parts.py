"""What the graphs of a process share, handed in by whoever compiles them, and how they get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from app.engine.advice import Advice
from app.engine.graph import Graph, Layer, Node
from app.engine.proposal_cache import Keeping, Proposals
from app.engine.spec import GraphSpec
from app.interfaces import Cache


def _no_fingerprints() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Parts:
    """`cache` keeps proposals and advice; without it nothing is kept.

    `fingerprints` tell, by model name, two configurations of one model apart.
    """

    cache: Cache | None = None
    fingerprints: Mapping[str, str] = field(default_factory=_no_fingerprints)


NO_PARTS = Parts()


class Furnisher:
    """Gives graphs their parts. The questions on their way are common to all it has furnished."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.cache
        self._proposals: Proposals | None = None
        if parts.cache is not None:
            self._proposals = Proposals(parts.cache, parts.fingerprints)

    def furnished(self, graph: Graph, spec: GraphSpec) -> Graph:
        """The graph with what its spec wants of them."""
        if self._store is not None and spec.advice_ttl and spec.tool_turns == "skip":
            told = f"{graph.name} {spec.model_dump_json()}"
            graph = replace(graph, advice=Advice(self._store, told, spec.advice_ttl))
        if self._proposals is not None and spec.cache is not None:
            keeping = Keeping(graph.name, spec.cache.ttl, spec.cache.scope)
            layers = tuple(_kept(layer, self._proposals, keeping) for layer in graph.layers)
            graph = replace(graph, layers=layers)
        return graph


def _kept(layer: Layer, proposals: Proposals, keeping: Keeping) -> Layer:
    def kept(node: Node) -> Node:
        return replace(node, models=proposals.kept(node.models, keeping))

    return replace(layer, nodes=tuple(kept(node) for node in layer.nodes))
