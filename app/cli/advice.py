"""What is allowed in a graph and yet most likely not meant. Pure; what is wrong is refused at load.

Every piece of advice names the place and says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.cli.estimate import TYPICAL_ANSWER, TYPICAL_PROMPT
from app.engine.forwarding import output_cap
from app.engine.graph import Graph, Layer, Node
from app.engine.references import share_of
from app.engine.requests import RESERVED_OUTPUT
from app.interfaces import ChatModel


def advice(graph: Graph) -> list[str]:
    """A sentence for each thing worth a second look."""
    return [*_on_layers(graph), *_on_samples(graph), *_on_windows(graph)]


def _on_layers(graph: Graph) -> Iterator[str]:
    for number, layer in enumerate(graph.layers, 1):
        if layer.size == 1:
            yield (
                f"layer {number} gives one answer only, so there is nothing to weigh: "
                "add proposers or `samples`"
            )
        elif layer.grace and layer.quorum == layer.size:
            yield _idle_grace(number, layer)


def _idle_grace(number: int, layer: Layer) -> str:
    return (
        f"layer {number} waits for all of its {layer.size} answers, so its grace of "
        f"{layer.grace:g}s never begins: lower `quorum` or drop `grace`"
    )


def _on_samples(graph: Graph) -> Iterator[str]:
    for layer in graph.layers:
        for node in layer.nodes:
            if node.samples > 1 and node.params.get("temperature") == 0:
                yield (
                    f"{node.name} is sampled {node.samples} times at temperature 0, which gives "
                    "much the same answer each time: raise its `temperature`"
                )


def _on_windows(graph: Graph) -> Iterator[str]:
    samples = {node.name: node.samples for layer in graph.layers for node in layer.nodes}
    needed = min(TYPICAL_ANSWER, graph.policy.max_reference_tokens)
    for node in (*(n for layer in graph.layers for n in layer.nodes), graph.output):
        count = sum(samples[name] for name in node.inputs)
        for model in node.models:
            share = _share(node, model, count)
            if share is not None and share < needed:
                yield (
                    f"{node.name}: the context window of {model.name} "
                    f"({model.abilities.context} tokens) leaves {share} tokens for each of "
                    f"{count} references after a conversation of {TYPICAL_PROMPT}: they will be "
                    "cut; choose a model with a larger window or fewer inputs"
                )


def _share(node: Node, model: ChatModel, count: int) -> int | None:
    """Tokens for each reference; None where nothing is ever trimmed."""
    abilities = model.abilities
    if not count or abilities.context is None:
        return None
    reserved = output_cap(node.params) or abilities.max_output or RESERVED_OUTPUT
    return share_of(abilities.context - TYPICAL_PROMPT - reserved, count)
