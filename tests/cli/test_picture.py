"""Pictures, whole: what an operator sees is the contract."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from app.cli.picture import draw, one_line
from app.engine.graph import Graph
from app.upstream.fake import FakeModel
from tests.engine.graphs import build

MODELS = {name: FakeModel(name) for name in ("a", "b", "c", "d", "e", "smollm2", "qwen-2.5-72b")}


TIMES = "\N{MULTIPLICATION SIGN}"


def graph(spec: dict[str, object], **others: dict[str, object]) -> Graph:
    return build({**others, "it": spec}, MODELS)["it"].graph


SHORT = {
    "layers": [{"proposers": ["a", "b", "smollm2"], "quorum": 2, "grace": 5, "deadline": "1m"}],
    "aggregator": "c",
}
DEEP = {
    "layers": [
        {
            "nodes": {
                "optimist": {"model": "a", "required": True, "fallback": ["e", "b"]},
                "sampled": {"model": "b", "samples": 3},
            }
        },
        {
            "nodes": {
                "best": {"kind": "aggregate", "model": "c"},
                "critic": {"model": "short", "inputs": ["sampled"]},
            }
        },
    ],
    "output": {"model": "d", "inputs": ["best", "critic", "optimist"], "fallback": ["e"]},
    "deadline": 120,
}


def test_a_short_graph_is_drawn_from_conversation_to_answer() -> None:
    assert (
        draw(graph(SHORT))
        == """\
                   the conversation
                           │
                           ▼
╭─ layer 1 · quorum 2 of 3 · grace 5s · deadline 60s ─╮
│ ┌───┐ ┌───┐ ┌─────────┐                             │
│ │ a │ │ b │ │ smollm2 │                             │
│ └───┘ └───┘ └─────────┘                             │
╰─────────────────────────────────────────────────────╯
                           │ 3 references
                           ▼
╭─ output · aggregate · deadline of the request 300s ─╮
│ ┌───┐                                               │
│ │ c │                                               │
│ └───┘                                               │
╰─────────────────────────────────────────────────────╯
                           │
                           ▼
                      the answer"""
    )


def test_samples_skip_edges_fallbacks_and_nested_graphs_are_drawn() -> None:
    assert (
        draw(graph(DEEP, short=SHORT))
        == """\
                   the conversation
                           │
                           ▼
╭─ layer 1 · quorum 4 of 4 · deadline 60s ────────────╮
│ ┌───────────┐ ┌─────────────┐                       │
│ │ optimist  │ │ sampled × 3 │                       │
│ │ a         │ │ b           │                       │
│ │ else e, b │ │             │                       │
│ │ required  │ │             │                       │
│ └───────────┘ └─────────────┘                       │
╰─────────────────────────────────────────────────────╯
                           │ 4 references
                           ▼
╭─ layer 2 · quorum 2 of 2 · deadline 60s ────────────╮
│ ┌────────────────┐ ┌──────────────────────────┐     │
│ │ best           │ │ critic                   │     │
│ │ aggregate by c │ │ short (a graph, 4 calls) │     │
│ │                │ │ sees sampled             │     │
│ └────────────────┘ └──────────────────────────┘     │
╰─────────────────────────────────────────────────────╯
                           │ 2 references
                           ▼
╭─ output · aggregate · deadline of the request 120s ─╮
│ ┌───────────────────────────────────────┐           │
│ │ d                                     │           │
│ │ else e                                │           │
│ │ sees best, critic, optimist (layer 1) │           │
│ └───────────────────────────────────────┘           │
╰─────────────────────────────────────────────────────╯
                           │
                           ▼
                      the answer"""  # noqa: RUF001 - the sign is part of the picture
    )


def test_boxes_go_on_in_a_second_row_where_the_terminal_is_narrow() -> None:
    narrow = draw(graph({"layers": [{"proposers": list(MODELS)}], "aggregator": "a"}), 40)
    assert narrow.splitlines()[3:11] == [
        "╭─ layer 1 · quorum 7 of 7 · … ────────╮",
        "│ ┌───┐ ┌───┐ ┌───┐ ┌───┐ ┌───┐        │",
        "│ │ a │ │ b │ │ c │ │ d │ │ e │        │",
        "│ └───┘ └───┘ └───┘ └───┘ └───┘        │",
        "│ ┌─────────┐ ┌──────────────┐         │",
        "│ │ smollm2 │ │ qwen-2.5-72b │         │",
        "│ └─────────┘ └──────────────┘         │",
        "╰──────────────────────────────────────╯",
    ]


@pytest.mark.parametrize("width", [1, 40, 57, 78, 200])
def test_no_picture_is_wider_than_allowed(width: int) -> None:
    name = "a-node-with-a-name-that-goes-on-and-on-until-nothing-else-has-room-beside-it"
    spec = {
        "layers": [
            {"nodes": {name: {"model": "a"}, "b": {"model": "b", "fallback": ["c", "d"]}}},
            {"proposers": ["e", "c"]},
        ],
        "output": {"model": "c", "inputs": [name, "e", "c"]},
    }
    lines = draw(graph(spec), width).splitlines()
    assert max(cell_len(line) for line in lines) <= max(width, 40)


def test_every_line_of_a_frame_is_equally_wide() -> None:
    lines = draw(graph(DEEP, short=SHORT)).splitlines()
    assert len({cell_len(line) for line in lines if line[0] in "╭│╰"}) == 1


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ([{"nodes": {"s": {"model": "smollm2", "samples": 3}}}], f"3 {TIMES} smollm2 → a"),
        ([{"proposers": ["a", "b", "a"]}], f"2 {TIMES} a + b → a"),
        ([{"proposers": ["a", "b"]}, {"proposers": ["c"]}], "a + b → c → a"),
        ([{"proposers": ["a", "b", "c", "d", "e"]}], "5 proposers → a"),
    ],
)
def test_one_line_says_who_is_asked(layers: list[object], line: str) -> None:
    assert one_line(graph({"layers": layers, "aggregator": "a"})) == line


def test_one_line_counts_where_names_have_no_room() -> None:
    it = graph({"layers": [{"proposers": ["qwen-2.5-72b", "smollm2"]}], "aggregator": "a"})
    assert one_line(it, width=20) == "2 proposers → a"


KINDS = {
    "layers": [
        {
            "nodes": {"s": {"model": "a", "samples": 3}, "b": {"model": "b"}},
            "filter": "cluster",
            "stop": {"when": "judge", "model": "smollm2"},
        },
        {
            "nodes": {
                "best": {"kind": "select", "model": "c"},
                "any": {"kind": "select", "by": "longest"},
                "critic": {"kind": "critique", "model": "d"},
            }
        },
    ],
    "output": {"kind": "reduce", "model": "e", "window": 2, "inputs": ["best", "any", "critic"]},
}


def test_kinds_gates_and_what_a_choice_leaves_are_drawn() -> None:
    lines = draw(graph(KINDS)).splitlines()
    text = "\n".join(lines)
    assert "│ then filter " in text
    assert "│ then stop by smollm2 if they agree " in text
    assert "│ select by c │ │ select │ │ critique by d │" in text
    assert "│ 4 references" in text
    assert "│ 3 references" in text
    assert "output · reduce" in text


def test_a_route_is_drawn_with_all_it_may_go_to() -> None:
    route = {
        "kind": "route",
        "rules": [{"to": "short", "when": {"longer_than": 99}}],
        "ask": {"model": "smollm2", "choices": {"a": "easy", "short": "hard"}},
        "otherwise": "a",
    }
    it = graph({"output": route}, short=SHORT)
    assert one_line(it) == "short | a"
    text = draw(it)
    assert "output · route" in text
    for line in ("asks smollm2", "to short (a graph, 4 calls)", "to a"):
        assert f"│ {line} " in text
    assert text.count("to a ") == 1


def test_one_line_names_what_asks_no_model_by_its_kind() -> None:
    layers = [
        {"proposers": ["a", "b"]},
        {"nodes": {"x": {"kind": "select", "by": "longest"}}},
    ]
    assert one_line(graph({"layers": layers, "aggregator": "c"})) == "a + b → select → c"
    output = {"kind": "select", "by": "longest"}
    assert one_line(graph({"layers": layers[:1], "output": output})) == "a + b → select"
