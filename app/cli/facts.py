"""All that `moa check` finds out about a configuration, as data; how it looks is the command's."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.cli.advice import advice
from app.cli.estimate import TYPICAL_ANSWER, TYPICAL_PROMPT, Estimate, estimate
from app.cli.pools import PoolFacts, pool_facts, prices, seeded
from app.cli.pools import to_json as pool_json
from app.config import DefaultConfig, LoadedConfig, unknown_settings
from app.engine.graph import Graph
from app.engine.measure import critical_path, depth, expected_calls, worst_case_calls
from app.protocol.json_types import JsonObject
from app.record import Price
from app.serving.runtime import Runtime
from app.upstream.probe import Probe


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """One graph: calls are upstream calls of one request, `critical_path` those that wait in turn.

    `depth` is how deep graphs nest in it.
    """

    graph: Graph
    expected_calls: int
    worst_case_calls: int
    critical_path: int
    depth: int
    estimate: Estimate
    advice: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """A whole configuration; `warnings` are about all of it, graphs and pools have their own.

    `left_out` is no warning: an optional upstream without its variable is as the file wants it.
    """

    chosen: DefaultConfig
    graphs: tuple[GraphFacts, ...]
    pools: tuple[PoolFacts, ...]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()

    @property
    def has_warnings(self) -> bool:
        """Whether there is anything worth a second look."""
        advised = any(each.advice for each in self.graphs) or any(p.advice for p in self.pools)
        return bool(self.warnings) or advised

    @property
    def is_usable(self) -> bool:
        """Whether every upstream that was asked would serve its models."""
        return all(probe.is_usable for probe in self.probes)


def facts(
    chosen: DefaultConfig,
    loaded: LoadedConfig,
    runtime: Runtime,
    probes: tuple[Probe, ...] = (),
) -> Facts:
    """Look at everything that is served."""
    priced, fixed = prices(loaded.config), seeded(loaded.config)
    graphs = [served.graph for served in runtime.served.values() if served.graph is not None]
    return Facts(
        chosen,
        tuple(_graph_facts(graph, priced, fixed) for graph in graphs),
        pool_facts(loaded.config),
        unknown_settings(os.environ),
        loaded.left_out,
        probes,
    )


def to_json(facts: Facts) -> JsonObject:
    """The facts for programs; costs are USD as numbers, null where a price is missing."""
    return {
        "file": str(facts.chosen.path),
        "reason": facts.chosen.reason,
        "warnings": list(facts.warnings),
        "left_out": list(facts.left_out),
        "models": [pool.name for pool in facts.pools],
        "pools": [pool_json(pool) for pool in facts.pools],
        "graphs": [_graph_json(graph) for graph in facts.graphs],
        "typical_request": {"prompt_tokens": TYPICAL_PROMPT, "answer_tokens": TYPICAL_ANSWER},
        "probes": [_probe_json(probe) for probe in facts.probes],
    }


def _graph_facts(
    graph: Graph, prices: Mapping[str, Price | None], seeded: Collection[str]
) -> GraphFacts:
    estimated = estimate(graph, prices)
    return GraphFacts(
        graph,
        expected_calls(graph),
        worst_case_calls(graph),
        critical_path(graph),
        depth(graph),
        estimated,
        tuple(advice(graph, seeded, estimated.unpriced)),
    )


def _graph_json(facts: GraphFacts) -> JsonObject:
    cost = facts.estimate.cost
    return {
        "name": facts.graph.name,
        "description": facts.graph.description,
        "expected_calls": facts.expected_calls,
        "worst_case_calls": facts.worst_case_calls,
        "critical_path": facts.critical_path,
        "depth": facts.depth,
        "typical_cost": None if cost is None else float(cost),
        "typical_tokens": {
            "prompt": facts.estimate.usage.prompt,
            "answers": facts.estimate.usage.completion,
        },
        "unpriced_models": list(facts.estimate.unpriced),
        "warnings": list(facts.advice),
    }


def _probe_json(probe: Probe) -> JsonObject:
    return {
        "model": probe.model,
        "upstream": probe.upstream,
        "upstream_model": probe.upstream_model,
        "reachable": probe.reachable,
        "credentials": probe.credentials,
        "listed": probe.listed,
        "says": probe.says,
    }
