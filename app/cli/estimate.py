"""What a typical request to a graph costs: an estimate from its shape and the operator's prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.access.pricing import FREE, cost_of
from app.engine.graph import Graph, Node
from app.engine.run import GraphModel
from app.protocol.usage import Usage
from app.record import Price

TYPICAL_PROMPT = 1_000
"""Tokens of a client's typical conversation."""
TYPICAL_ANSWER = 500
"""Tokens of a typical answer, a proposer's or the aggregator's."""
_SMALLEST = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Estimate:
    """USD of one typical request; None where the models in `unpriced` have no price."""

    cost: Decimal | None
    unpriced: tuple[str, ...] = ()


def estimate(graph: Graph, prices: Mapping[str, Price | None]) -> Estimate:
    """What a request costs if nothing fails; `prices` are by model name."""
    calls = list(typical_calls(graph))
    unpriced = tuple(dict.fromkeys(name for name, _ in calls if prices.get(name) is None))
    if unpriced:
        return Estimate(None, unpriced)
    priced = ((usage, prices[name]) for name, usage in calls)
    return Estimate(sum((cost_of(usage, price) for usage, price in priced if price), FREE))


def typical_calls(graph: Graph, prompt: int = TYPICAL_PROMPT) -> Iterator[tuple[str, Usage]]:
    """Model and tokens of each call if nothing fails: a node also pays for what it sees."""
    inner = [node for layer in graph.layers for node in layer.nodes]
    samples = {node.name: node.samples for node in inner}
    size = min(TYPICAL_ANSWER, graph.policy.max_reference_tokens)
    for node in (*inner, graph.output):
        seen = sum(samples[name] for name in node.inputs)
        yield from _calls_of(node, prompt + seen * size)


def _calls_of(node: Node, prompt: int) -> Iterator[tuple[str, Usage]]:
    model = node.models[0]
    for _ in range(node.samples):
        if isinstance(model, GraphModel):
            yield from typical_calls(model.graph, prompt)
        else:
            yield model.name, Usage(prompt, TYPICAL_ANSWER)


def dollars(cost: Decimal | None) -> str:
    """`$0.0123`, in millionths at most; `unknown` where it is None."""
    if cost is None:
        return "unknown"
    if FREE < cost < _SMALLEST:
        return f"under ${_SMALLEST:f}"
    text = f"{cost:.6f}".rstrip("0").rstrip(".")
    return f"${text}"
