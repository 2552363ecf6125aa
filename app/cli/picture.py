"""Graphs as pictures in plain characters. Pure: a graph in, text out; commands print it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TypeAlias

from rich.cells import cell_len

from app.engine.graph import Graph, Layer, Node
from app.engine.graph_model import GraphModel
from app.engine.measure import expected_calls, given_by
from app.interfaces import ChatModel

TIMES = "\N{MULTIPLICATION SIGN}"
WIDTH = 78
"""Columns of a picture, where the terminal says nothing else."""
NARROWEST = 40
MOST_PARTS = 4
"""A layer of more different models than this is counted, not listed, in one line."""
_BOX_EDGES = 4
_FRAME_EDGES = 4

Block: TypeAlias = tuple[str, ...]
"""Lines of one width."""
Heights: TypeAlias = Mapping[str, int]
"""The number of the layer each node stands in."""


def one_line(graph: Graph, width: int = WIDTH) -> str:
    """`3 x smollm2 → smollm2`: who is asked, layer by layer; models by name or by number."""
    end = _output_word(graph.output)
    full = " → ".join((*(_listed(layer) for layer in graph.layers), end))
    if cell_len(full) <= width:
        return full
    return " → ".join((*(f"{layer.size} proposers" for layer in graph.layers), end))


def draw(graph: Graph, width: int = WIDTH) -> str:
    """The graph from the conversation down to the answer, at most `width` columns wide."""
    room = max(width, NARROWEST) - _FRAME_EDGES
    heights = {n.name: at for at, layer in enumerate(graph.layers, 1) for n in layer.nodes}
    rows = [
        (
            _layer_title(at, layer),
            [*_in_rows(_layer_boxes(layer, heights, room), room), *_gates(layer)],
        )
        for at, layer in enumerate(graph.layers, 1)
    ]
    output = _box(_output_lines(graph, heights), room)
    rows.append((_output_title(graph), _in_rows([output], room)))
    inner = max(cell_len(text) for title, lines in rows for text in (f"  {title}", *lines))
    inner = min(inner, room)
    drawn = [_centred("the conversation", inner), *_arrow(inner)]
    for (title, lines), arrow in zip_longest(rows, _arrows_between(graph, inner)):
        drawn += _frame(title, lines, inner)
        drawn += arrow or _arrow(inner)
    return "\n".join((*drawn, _centred("the answer", inner)))


def _listed(layer: Layer) -> str:
    counted: Counter[str] = Counter()
    for node in layer.nodes:
        counted[node.models[0].name if node.models else node.word] += node.samples
    if len(counted) > MOST_PARTS:
        return f"{layer.size} proposers"
    return " + ".join(name if n == 1 else f"{n} {TIMES} {name}" for name, n in counted.items())


def _output_word(node: Node) -> str:
    """Who writes the answer; for a route, all who may."""
    if node.targets:
        return " | ".join(dict.fromkeys(target.name for target in node.targets))
    return node.models[0].name if node.models else node.word


def _gates(layer: Layer) -> Iterator[str]:
    """What happens once a layer has ended."""
    for gate in layer.gates:
        by = f" by {gate.models[0].name}" if gate.models else ""
        yield f"then {gate.word}{by}{' if they agree' if gate.word == 'stop' else ''}"


def _layer_title(number: int, layer: Layer) -> str:
    quorum = f"quorum {layer.quorum} of {layer.size}"
    grace = [f"grace {layer.grace:g}s"] if layer.grace else []
    return " · ".join((f"layer {number}", quorum, *grace, f"deadline {layer.deadline:g}s"))


def _output_title(graph: Graph) -> str:
    return f"output · {graph.output.word} · deadline of the request {graph.deadline:g}s"


def _layer_boxes(layer: Layer, heights: Heights, room: int) -> list[Block]:
    number = heights[layer.nodes[0].name]
    return [_box(_node_lines(node, number, heights), room) for node in layer.nodes]


def _node_lines(node: Node, number: int, heights: Heights) -> Iterator[str]:
    samples = f" {TIMES} {node.samples}" if node.samples > 1 else ""
    yield f"{node.name}{samples}"
    model = _model(node.models[0]) if node.models else ""
    if node.word != "propose":
        yield f"{node.word} by {model}" if model else node.word
    elif model != node.name:
        yield model
    yield from _footnotes(node, number, heights)
    if node.required:
        yield "required"


def _output_lines(graph: Graph, heights: Heights) -> Iterator[str]:
    output = graph.output
    if output.models:
        yield f"asks {_model(output.models[0])}" if output.targets else _model(output.models[0])
    for name in dict.fromkeys(_model(target) for target in output.targets):
        yield f"to {name}"
    if not (output.models or output.targets):
        yield output.word
    yield from _footnotes(graph.output, len(graph.layers) + 1, heights)


def _footnotes(node: Node, number: int, heights: Heights) -> Iterator[str]:
    if len(node.models) > 1:
        yield f"else {', '.join(_model(model) for model in node.models[1:])}"
    usual = {name for name, height in heights.items() if height == number - 1}
    if set(node.inputs) == usual:
        return
    seen = (_input(name, number, heights) for name in node.inputs)
    yield f"sees {', '.join(seen)}" if node.inputs else "sees no references"


def _input(name: str, number: int, heights: Heights) -> str:
    height = heights[name]
    return name if height == number - 1 else f"{name} (layer {height})"


def _model(model: ChatModel) -> str:
    if not isinstance(model, GraphModel):
        return model.name
    return f"{model.name} (a graph, {expected_calls(model.graph)} calls)"


def _box(lines: Iterable[str], room: int) -> Block:
    widest = room - _BOX_EDGES
    wrapped = [part for line in lines for part in textwrap.wrap(line, widest)]
    inner = max(cell_len(line) for line in wrapped)
    edge = "─" * (inner + 2)
    return f"┌{edge}┐", *(f"│ {_padded(line, inner)} │" for line in wrapped), f"└{edge}┘"


def _in_rows(boxes: Sequence[Block], room: int) -> list[str]:
    return [line for row in _rows(boxes, room) for line in row]


def _rows(boxes: Sequence[Block], room: int) -> Iterator[list[str]]:
    """Boxes side by side, as many in a row as there is room for."""
    row: list[Block] = []
    for box in boxes:
        if row and cell_len(" ".join(b[0] for b in (*row, box))) > room:
            yield _side_by_side(row)
            row = []
        row.append(box)
    yield _side_by_side(row)


def _side_by_side(row: Sequence[Block]) -> list[str]:
    height = max(len(box) for box in row)
    return [" ".join(line) for line in zip(*(_stretched(box, height) for box in row), strict=True)]


def _stretched(box: Block, height: int) -> Block:
    filler = f"│{' ' * (cell_len(box[0]) - 2)}│"
    return (*box[:-1], *[filler] * (height - len(box)), box[-1])


def _frame(title: str, lines: Sequence[str], inner: int) -> list[str]:
    shown = textwrap.shorten(title, inner - 2, placeholder=" …")
    return [
        f"╭─ {shown} {'─' * (inner - cell_len(shown) - 1)}╮",
        *(f"│ {_padded(line, inner)} │" for line in lines),
        f"╰{'─' * (inner + 2)}╯",
    ]


def _arrows_between(graph: Graph, inner: int) -> list[list[str]]:
    given = given_by(graph)
    counts = (sum(given[node.name] for node in layer.nodes) for layer in graph.layers)
    return [_arrow(inner, _references(count)) for count in counts]


def _references(count: int) -> str:
    return "1 reference" if count == 1 else f"{count} references"


def _arrow(inner: int, label: str = "") -> list[str]:
    left = " " * ((inner + _FRAME_EDGES) // 2)
    return [f"{left}│ {label}".rstrip(), f"{left}▼"]


def _centred(text: str, inner: int) -> str:
    return " " * ((inner + _FRAME_EDGES) // 2 - cell_len(text) // 2) + text


def _padded(line: str, width: int) -> str:
    return line + " " * (width - cell_len(line))
