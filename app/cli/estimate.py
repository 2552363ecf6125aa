"""What a typical request to a graph costs: an estimate from its shape and the operator's prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.access.pricing import FREE, cost_of
from app.engine.graph import Chooser, Graph, Node
from app.engine.graph_model import GraphModel
from app.engine.measure import expected_calls, given_by
from app.engine.outliers import Filter
from app.engine.stopping import Stop
from app.interfaces import ChatModel
from app.protocol.usage import Usage
from app.record import Price

TYPICAL_PROMPT = 1_000
"""Tokens of a client's typical conversation."""
TYPICAL_ANSWER = 500
"""Tokens of a typical answer, a proposer's or the aggregator's."""
TYPICAL_VERDICT = 50
"""Tokens in which a judge says what it chose."""
NOTHING = Usage()
_SMALLEST = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Estimate:
    """USD and tokens of one typical request; no cost where the models in `unpriced` have none."""

    cost: Decimal | None
    unpriced: tuple[str, ...] = ()
    usage: Usage = NOTHING


def estimate(graph: Graph, prices: Mapping[str, Price | None]) -> Estimate:
    """What a request costs if nothing fails; `prices` are by model name."""
    calls = list(typical_calls(graph))
    usage = sum((each for _, each in calls), NOTHING)
    unpriced = tuple(dict.fromkeys(name for name, _ in calls if prices.get(name) is None))
    if unpriced:
        return Estimate(None, unpriced, usage)
    priced = ((each, prices[name]) for name, each in calls)
    cost = sum((cost_of(each, price) for each, price in priced if price), FREE)
    return Estimate(cost, (), usage)


def typical_calls(graph: Graph, prompt: int = TYPICAL_PROMPT) -> Iterator[tuple[str, Usage]]:
    """Model and tokens of each call if nothing fails: a node also pays for what it sees.

    A route goes to whichever of its targets makes most calls; no layer is stopped early.
    """
    size = min(TYPICAL_ANSWER, graph.policy.max_reference_tokens)
    given = given_by(graph)
    nodes = (node for layer in graph.layers for node in (*layer.nodes, *layer.gates))
    for node in (*nodes, graph.output):
        seen = sum(given[name] for name in node.inputs)
        for _ in range(node.samples):
            yield from _calls_of(node, prompt, [size] * seen)


def _calls_of(node: Node, prompt: int, shown: list[int]) -> Iterator[tuple[str, Usage]]:
    asks, references = node.kind.asks(len(shown)), sum(shown)
    for number in range(asks if node.models else 0):
        model = node.models[0]
        if embeds(node):
            yield model.name, Usage(references)
        elif isinstance(node.kind, Chooser) or node.targets:
            yield from _asked(model, prompt + references, TYPICAL_VERDICT)
        else:
            # From the second question on it shows what is new to it, and its own answer so far.
            yield from _asked(model, prompt + (TYPICAL_ANSWER if number else references))
    if node.targets:
        yield from _asked(max(node.targets, key=_calls_in), prompt)


def embeds(node: Node) -> bool:
    """Whether a node asks its model for embeddings, not for words."""
    kind = node.kind
    return isinstance(kind, Filter) or (isinstance(kind, Stop) and kind.when == "embedding")


def _asked(
    model: ChatModel, prompt: int, answer: int = TYPICAL_ANSWER
) -> Iterator[tuple[str, Usage]]:
    if isinstance(model, GraphModel):
        yield from typical_calls(model.graph, prompt)
    else:
        yield model.name, Usage(prompt, answer)


def _calls_in(model: ChatModel) -> int:
    return expected_calls(model.graph) if isinstance(model, GraphModel) else 1


def dollars(cost: Decimal | None) -> str:
    """`$0.0123`, in millionths at most; `unknown` where it is None."""
    if cost is None:
        return "unknown"
    if FREE < cost < _SMALLEST:
        return f"under ${_SMALLEST:f}"
    text = f"{cost:.6f}".rstrip("0").rstrip(".")
    return f"${text}"
