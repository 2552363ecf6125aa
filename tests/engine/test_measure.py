"""What a graph may come to, computed from its shape."""

from __future__ import annotations

from typing import Any

from app.engine.graph import Graph
from app.engine.measure import critical_path, depth, expected_calls, worst_case_calls
from app.upstream.fake import FakeModel
from tests.engine.graphs import build

MODELS = {name: FakeModel(name) for name in ("a", "b", "c", "d")}
LITE = {"layers": [{"proposers": ["a", "b", "c"]}], "aggregator": "d"}


def measured(graph: Graph) -> tuple[int, int, int, int]:
    return worst_case_calls(graph), expected_calls(graph), critical_path(graph), depth(graph)


def graphs(**specs: Any) -> dict[str, Graph]:
    return {name: model.graph for name, model in build(specs, MODELS).items()}


def test_one_layer_and_an_output_are_one_call_a_node_and_two_in_a_row() -> None:
    assert measured(graphs(lite=LITE)["lite"]) == (4, 4, 2, 1)


def test_samples_multiply_and_layers_add_up() -> None:
    deep = {
        "layers": [{"nodes": {"many": {"model": "a", "samples": 5}}}, {"proposers": ["b", "c"]}],
        "aggregator": "d",
    }
    assert measured(graphs(deep=deep)["deep"]) == (8, 8, 3, 1)


def test_fallbacks_count_in_the_worst_case_alone() -> None:
    careful = {
        "layers": [{"nodes": {"x": {"model": "a", "fallback": ["b"], "samples": 2}}}],
        "output": {"model": "c", "fallback": ["d", "a"]},
    }
    assert measured(graphs(careful=careful)["careful"]) == (7, 3, 2, 1)


def test_a_nested_graph_counts_with_all_its_calls() -> None:
    found = graphs(
        lite=LITE,
        outer={
            "layers": [{"nodes": {"x": {"model": "lite", "samples": 2}, "y": {"model": "a"}}}],
            "output": {"model": "b", "fallback": ["lite"]},
        },
    )
    assert measured(found["outer"]) == (2 * 4 + 1 + 1 + 4, 2 * 4 + 1 + 1, 2 + 1, 2)


def test_a_graph_as_the_output_lengthens_the_path() -> None:
    found = graphs(lite=LITE, outer={"layers": [{"proposers": ["a"]}], "aggregator": "lite"})
    assert measured(found["outer"]) == (5, 5, 3, 2)


def asking(samples: int, **output: Any) -> tuple[int, int, int, int]:
    """One model sampled, and an output that asks several times."""
    return measured(
        graphs(
            seq={
                "layers": [{"nodes": {"many": {"model": "a", "samples": samples}}}],
                "output": {"model": "b", **output},
            }
        )["seq"]
    )


def test_a_reduction_asks_once_a_window() -> None:
    assert asking(7, kind="reduce", window=3) == (7 + 3, 7 + 3, 1 + 3, 1)
    assert asking(8, kind="reduce", window=3) == (8 + 4, 8 + 4, 1 + 4, 1)
    assert asking(3, kind="reduce", window=3) == (3 + 1, 3 + 1, 1 + 1, 1)
    assert asking(12, kind="reduce", window=6, best_slots=3) == (12 + 3, 12 + 3, 1 + 3, 1)


def test_each_step_of_a_reduction_may_fall_back() -> None:
    assert asking(7, kind="reduce", window=3, fallback=["c", "d"]) == (7 + 9, 7 + 3, 1 + 3, 1)


def test_a_refiner_asks_once_a_round_and_once_more_where_nothing_is_given() -> None:
    assert asking(1, kind="refine", rounds=4) == (1 + 4, 1 + 4, 1 + 4, 1)
    alone = {
        "layers": [{"nodes": {"x": {"kind": "refine", "model": "a", "rounds": 4, "samples": 2}}}],
        "aggregator": "b",
    }
    assert measured(graphs(alone=alone)["alone"]) == (2 * 5 + 1, 2 * 5 + 1, 5 + 1, 1)


def test_a_reduction_counts_the_references_of_all_its_inputs_with_their_samples() -> None:
    mixed = {
        "layers": [
            {"nodes": {"many": {"model": "a", "samples": 4}, "other": {"model": "b"}}},
            {"nodes": {"one": {"kind": "reduce", "model": "c", "window": 2}}},
        ],
        "aggregator": "d",
    }
    assert measured(graphs(mixed=mixed)["mixed"]) == (5 + 4 + 1, 5 + 4 + 1, 1 + 4 + 1, 1)


def test_critics_analysts_and_revisers_ask_once() -> None:
    peers = {
        "layers": [
            {"proposers": ["a", "b"]},
            {
                "nodes": {
                    "critic": {"kind": "critique", "model": "c"},
                    "analyst": {"kind": "analyse", "model": "d"},
                }
            },
        ],
        "output": {"kind": "revise", "model": "a", "inputs": ["a", "b", "critic", "analyst"]},
    }
    assert measured(graphs(peers=peers)["peers"]) == (5, 5, 3, 1)


def test_where_answers_are_picked_the_outputs_model_judges_even_one_reference() -> None:
    picking = {
        "tools": "pick",
        "layers": [{"proposers": ["a", "b"]}, {"nodes": {"v": {"kind": "vote"}}}],
        "output": {"kind": "select", "model": "c"},
    }
    assert worst_case_calls(graphs(picking=picking)["picking"]) == 2 + 1


def test_a_gate_asks_nobody_where_there_is_nothing_to_compare() -> None:
    gated = {
        "layers": [
            {"proposers": ["a"], "stop": {"when": "judge", "model": "b"}},
            {"proposers": ["c"]},
        ],
        "aggregator": "d",
    }
    assert measured(graphs(gated=gated)["gated"]) == (3, 3, 3, 1)


def test_a_panel_that_may_stop_early_can_show_the_output_more_than_its_last_layer() -> None:
    early = {
        "layers": [
            {
                "nodes": {"many": {"model": "a", "samples": 7}},
                "stop": {"when": "exact"},
            },
            {"nodes": {"one": {"kind": "vote"}}},
        ],
        "output": {"kind": "reduce", "model": "b", "window": 3},
    }
    assert measured(graphs(early=early)["early"]) == (7 + 3, 7 + 1, 1 + 0 + 1, 1)
