"""What no graph may come to, whatever the operator wrote: too deep, too many calls, hopeless."""

from __future__ import annotations

from app.engine.graph import Graph
from app.engine.measure import depth, references_seen, worst_case_calls
from app.engine.spec import LimitsSpec
from app.errors import ConfigError


def check_limits(graph: Graph, limits: LimitsSpec) -> None:
    """Raise ConfigError where a graph goes beyond the limits or can never answer."""
    path = f"graphs.{graph.name}"
    if (nested := depth(graph)) > limits.max_depth:
        raise ConfigError(
            f"graphs nest {nested} deep here; limits.max_depth is {limits.max_depth}", path=path
        )
    if (calls := worst_case_calls(graph)) > limits.max_calls:
        raise ConfigError(
            f"one request may come to {calls} upstream calls; limits.max_calls is "
            f"{limits.max_calls}",
            path=path,
        )
    policy = graph.policy
    seen = references_seen(graph, graph.output)
    if graph.output.inputs and policy.on_empty == "error" and policy.min_references > seen:
        raise ConfigError(
            f"found {policy.min_references}, but the output sees {seen} references at most",
            path=f"{path}.min_references",
        )
