"""What one request may cost at worst, before its first call: every node, fallback and round. Pure.

Prompts are estimated from the conversation and from the most that references may add, answers by
their caps. Retries and hedges are not in it: whoever makes one asks for room first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache, partial
from typing import TypeAlias

from app.engine.candidates import has_tools
from app.engine.forwarding import output_cap
from app.engine.graph import Chooser, Graph, Nesting, Node
from app.engine.judging import JUDGE_TOKENS
from app.engine.measure import output_sees, references_seen
from app.engine.requests import most_written
from app.interfaces import ChatModel
from app.protocol.chat import ChatRequest
from app.protocol.tokens import estimate_text
from app.protocol.usage import Usage
from app.record import FREE, Price

INSTRUCTIONS = 600
"""Tokens that the gateway's own words around a conversation and its references may take."""
FENCES = 48
"""Tokens around each reference."""
_LONG = 10_000_000
"""Tokens: longer than any prompt."""
_KEPT = 1_000

PriceOf: TypeAlias = Callable[[str], Price | None]
"""The price of a model by its name, of the dearest of its deployments; None if unknown."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in numbers: tokens of its prompt, what each answer may have, how many answers."""

    prompt: int
    cap: int | None = None
    choices: int = 1
    has_tools: bool = False


@dataclass(frozen=True, slots=True)
class Worst:
    """The most one request may come to: USD as far as prices are known, tokens, upstream calls."""

    cost: Decimal = FREE
    tokens: int = 0
    calls: int = 0
    unpriced: frozenset[str] = frozenset()

    def __add__(self, other: Worst) -> Worst:
        return Worst(
            self.cost + other.cost,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.unpriced | other.unpriced,
        )

    def times(self, count: int) -> Worst:
        """The same so many times."""
        return replace(
            self, cost=self.cost * count, tokens=self.tokens * count, calls=self.calls * count
        )


NOTHING = Worst()


def asked(request: ChatRequest) -> Asked:
    """The numbers of a client's request."""
    params = request.params
    choices = params.get("n")
    return Asked(
        request.prompt_tokens,
        output_cap(params),
        choices if isinstance(choices, int) else 1,
        has_tools(params),
    )


def worst_case(model: ChatModel, asked: Asked, price_of: PriceOf) -> Worst:
    """What a model may come to for this request: a graph by all its nodes, a pool by one call."""
    if isinstance(model, Nesting):
        return _graph(model.graph, asked, price_of)
    completion = asked.choices * (asked.cap or most_written(model.abilities))
    usage = Usage(asked.prompt, completion)
    price = price_of(model.name)
    return Worst(
        FREE if price is None else price.of(usage),
        asked.prompt + completion,
        1,
        frozenset() if price else frozenset({model.name}),
    )


class Bounds:
    """The worst cases of one model, for any number of requests.

    A worst case grows in proportion to the prompt, or less where a router goes to another target,
    so two of them are worked out for all that is asked besides, and a line is drawn.
    """

    def __init__(self, model: ChatModel, price_of: PriceOf) -> None:
        self._line = lru_cache(_KEPT)(partial(_line, model, price_of))

    def of(self, asked: Asked) -> Worst:
        """The worst case of this request."""
        base, slope = self._line(replace(asked, prompt=0))
        return replace(
            base,
            cost=base.cost + slope.cost * asked.prompt,
            tokens=base.tokens + slope.tokens * asked.prompt,
        )


def _line(model: ChatModel, price_of: PriceOf, asked: Asked) -> tuple[Worst, Worst]:
    """The worst case of an empty prompt, and what each token of a prompt adds to it."""
    base = worst_case(model, asked, price_of)
    most = worst_case(model, replace(asked, prompt=_LONG), price_of)
    tokens = -(-(most.tokens - base.tokens) // _LONG)
    return base, Worst((most.cost - base.cost) / _LONG, tokens)


def _graph(graph: Graph, asked: Asked, price_of: PriceOf) -> Worst:
    total = NOTHING
    for layer in graph.layers:
        for node in (*layer.nodes, *layer.gates):
            each = _inner(graph, node, asked, price_of)
            total += each.times(node.samples)
    return total + _output(graph, asked, price_of)


def _inner(graph: Graph, node: Node, asked: Asked, price_of: PriceOf) -> Worst:
    seen = references_seen(graph, node)
    cap = output_cap(node.params) or (JUDGE_TOKENS if isinstance(node.kind, Chooser) else None)
    if _picks(graph, asked) and node.word == "propose":  # it answers the caller's own request
        return _node(graph, node, replace(asked, cap=asked.cap or cap), seen, price_of)
    inner = replace(asked, cap=cap, choices=1, has_tools=False)
    return _node(graph, node, inner, seen, price_of)


def _output(graph: Graph, asked: Asked, price_of: PriceOf) -> Worst:
    cap = asked.cap or output_cap(graph.output.params)
    if isinstance(graph.output.kind, Chooser) and not graph.output.targets:
        cap = output_cap(graph.output.params) or JUDGE_TOKENS
    if cap and _picks(graph, asked):
        cap = max(cap, output_cap(graph.output.params) or JUDGE_TOKENS)
    return _node(graph, graph.output, replace(asked, cap=cap), output_sees(graph), price_of)


def _node(graph: Graph, node: Node, asked: Asked, seen: int, price_of: PriceOf) -> Worst:
    """All questions of one node, to its model and to every fallback, and its dearest target."""
    shown = replace(asked, prompt=asked.prompt + _around(graph, node, seen, asked))
    asks = node.kind.asks(seen)
    if node is graph.output and graph.policy.tools == "pick":
        asks = max(1, asks)
    # A router's model judges, whatever cap its targets are asked with.
    own = replace(shown, cap=max(shown.cap, JUDGE_TOKENS)) if shown.cap and node.targets else shown
    once = sum((worst_case(model, own, price_of) for model in node.models), NOTHING)
    targets = (worst_case(target, shown, price_of) for target in node.targets)
    dearest = max(targets, key=lambda worst: (worst.cost, worst.tokens), default=NOTHING)
    return once.times(asks) + dearest


def _picks(graph: Graph, asked: Asked) -> bool:
    """Whether proposers answer whole and one of the answers is picked."""
    return graph.policy.tools == "pick" and asked.has_tools


def _around(graph: Graph, node: Node, seen: int, asked: Asked) -> int:
    """Tokens that are put to the conversation: words of ours, and references, a draft included."""
    words = (node.system, node.instruction, graph.instruction)
    own = sum(estimate_text(text) for text in words if text)
    shown = seen + 1 if seen or node.kind.asks(seen) > 1 else 0
    whole = asked.cap or 0 if _picks(graph, asked) else 0
    return own + INSTRUCTIONS + shown * (_longest(graph, whole) + FENCES)


def _longest(graph: Graph, whole: int) -> int:
    """Tokens of the longest reference that a reader may be shown; `whole` is a client's cap."""
    nodes = (*(node for layer in graph.layers for node in layer.nodes), graph.output)
    written = (
        output_cap(node.params) or most_written(model.abilities)
        for node in nodes
        for model in node.models
    )
    return min(graph.policy.max_reference_tokens, max(whole, *written, 0))
