"""What is allowed in a graph and yet most likely not meant. Pure; what is wrong is refused at load.

Every piece of advice names the place and says what to do. Here is what concerns layers and the
whole graph; `advice_on_nodes` has the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from app.cli.advice_on_nodes import (
    ON_ONE,
    on_judges,
    on_reducers,
    on_strengths,
    on_windows,
    readers,
)
from app.engine.graph import Graph, Layer, Writer
from app.engine.measure import layer_calls, least_output_calls


def advice(graph: Graph, seeded: Collection[str] = (), unpriced: Collection[str] = ()) -> list[str]:
    """A sentence for each thing worth a second look.

    `seeded` are models that are always asked with the same seed, `unpriced` those of this graph
    without a price.
    """
    return [
        *_on_layers(graph),
        *_on_samples(graph, seeded),
        *_on_caps(graph, unpriced),
        *on_strengths(graph),
        *on_judges(graph),
        *on_reducers(graph),
        *on_windows(graph),
    ]


def _on_layers(graph: Graph) -> Iterator[str]:
    for number, layer in enumerate(graph.layers, 1):
        # A layer of one judge, critic or reducer works on what others gave.
        if layer.size == 1 and layer.nodes[0].word == "propose" and _is_weighed(graph, number):
            yield (
                f"layer {number} gives one answer only, so there is nothing to weigh: "
                "add proposers or `samples`"
            )
        else:
            yield from _on_quorum(number, layer)


def _is_weighed(graph: Graph, number: int) -> bool:
    """Whether somebody is to make more of a layer's answers than a better draft."""
    names = {node.name for node in graph.layers[number - 1].nodes}
    return any(
        node.word not in ON_ONE and not names.isdisjoint(node.inputs) for node in readers(graph)
    )


def _on_quorum(number: int, layer: Layer) -> Iterator[str]:
    """A quorum or a grace that never lets a layer end sooner."""
    if layer.quorum == layer.size:
        if layer.grace:
            yield (
                f"layer {number} waits for all of its {layer.size} answers, so its grace of "
                f"{layer.grace:g}s never begins: lower `quorum` or drop `grace`"
            )
    elif all(node.required for node in layer.nodes):
        yield (
            f"every node of layer {number} is required, so its quorum of {layer.quorum} saves no "
            "time: drop `required` where a node may be missed, or drop `quorum`"
        )
    elif layer.grace >= layer.deadline:
        yield (
            f"layer {number} gives the late ones a grace of {layer.grace:g}s, as long as its "
            f"deadline of {layer.deadline:g}s, so its quorum saves no time: shorten `grace`"
        )


def _on_samples(graph: Graph, seeded: Collection[str]) -> Iterator[str]:
    for number, layer in enumerate(graph.layers, 1):
        times: Counter[str] = Counter()
        for node in layer.nodes:
            if node.samples > 1 and node.params.get("temperature") == 0:
                yield (
                    f"{node.name} is sampled {node.samples} times at temperature 0, which gives "
                    "much the same answer each time: raise its `temperature`"
                )
            if isinstance(node.kind, Writer) and node.models:
                times[node.models[0].name] += node.samples
        for name in (name for name, count in times.items() if count > 1 and name in seeded):
            yield (
                f"layer {number} asks {name} {times[name]} times with the same `seed` in its "
                "`extra_body`, which gives the same answer each time: take the seed out"
            )


def _on_caps(graph: Graph, unpriced: Collection[str]) -> Iterator[str]:
    if graph.caps.max_cost is not None and unpriced:
        yield (
            f"caps.max_cost of {graph.caps.max_cost} USD cannot be kept, since there is no price "
            f"for {', '.join(unpriced)}: set their `price`"
        )
    begun, least = 0, least_output_calls(graph)
    for number, layer in enumerate(graph.layers, 1):
        begun += layer_calls(graph, layer)
        if graph.caps.max_calls is not None and begun + least > graph.caps.max_calls:
            yield (
                f"layer {number} never begins: with it a request comes to {begun + least} calls, "
                f"and caps.max_calls is {graph.caps.max_calls}"
            )
            return
