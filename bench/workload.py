"""The graphs all contenders run, and the same graphs as the gateway's configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

PROPOSERS = 6
TOKENS = 64
LATENCY = 0.2
"""Seconds the upstream takes for an answer in the slow graphs."""

INSTRUCTION = (
    "You have been given responses from several models to the latest query. Write one better,"
    " self-contained answer. They may be biased or wrong: weigh them, do not copy them."
)


@dataclass(frozen=True)
class Graph:
    """Layers of proposers, then the aggregator whose tokens are streamed; all upstream models."""

    layers: tuple[tuple[str, ...], ...]
    aggregator: str


def _graph(layers: int, suffix: str) -> Graph:
    def layer(number: int) -> tuple[str, ...]:
        return tuple(f"p{number}{n}{suffix}" for n in range(PROPOSERS))

    return Graph(tuple(layer(number) for number in range(layers)), f"agg{suffix}")


BURST = f"?tokens={TOKENS}&joined=false"
SLOW = f"{BURST}&first={LATENCY * 1000:.0f}ms"
GRAPHS = {
    "moa7": _graph(1, SLOW),
    "moa7-fast": _graph(1, BURST),
    "moa19-fast": _graph(3, BURST),
}
POOLS = {
    "one": f"one{BURST}",
    "paced": "paced?tokens=100&every=20ms",
    "held": "held?tokens=4&after=2&then=hang",
}


def graph_of(model: str) -> Graph:
    """The graph of that name, or the graph without layers that a single model is."""
    return GRAPHS[model] if model in GRAPHS else Graph((), POOLS[model])


def aggregate_messages(
    messages: list[dict[str, Any]], references: list[str]
) -> list[dict[str, Any]]:
    """The conversation with the references at its tail, as a script would do it."""
    numbered = "\n\n".join(f"{n}. {text}" for n, text in enumerate(references, 1))
    *before, last = messages
    return [*before, {**last, "content": f"{last['content']}\n\n{INSTRUCTION}\n\n{numbered}"}]


def gateway_config(upstream: str) -> str:
    """The configuration file of the gateway; JSON, which is YAML."""
    ids = {model for graph in GRAPHS.values() for layer in graph.layers for model in layer}
    ids |= {graph.aggregator for graph in GRAPHS.values()}
    fake = {"upstream": "fake", "max_output": 256, "price": {"input": 0.9, "output": 0.9}}
    models = {_name(model): {**fake, "model": model} for model in ids}
    models |= {name: {**fake, "model": model} for name, model in POOLS.items()}
    graphs = {
        name: {
            "layers": [{"proposers": [_name(m) for m in layer]} for layer in graph.layers],
            "aggregator": _name(graph.aggregator),
        }
        for name, graph in GRAPHS.items()
    }
    config = {"upstreams": {"fake": {"base_url": upstream}}, "models": models, "graphs": graphs}
    return json.dumps(config, indent=1)


def _name(model: str) -> str:
    base, _, query = model.partition("?")
    return f"{base}-slow" if "first" in query else base
