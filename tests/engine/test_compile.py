from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.graph import Graph
from app.engine.measure import critical_path, depth, worst_case_calls
from app.engine.spec import LimitsSpec
from app.errors import ConfigError
from app.upstream.fake import FakeModel
from tests.engine.graphs import build

MODELS = {name: FakeModel(name) for name in "abcdef"}


def compiled(graph: dict[str, Any]) -> Graph:
    return build({"g": graph}, MODELS)["g"].graph


def refusal(graph: dict[str, Any], **others: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        build({"g": graph, **others}, MODELS)
    return refused.value


def test_the_short_form_names_nodes_after_their_models() -> None:
    graph = compiled({"layers": [{"proposers": ["a", "b", "a"]}], "aggregator": "c"})
    assert [node.name for node in graph.layers[0].nodes] == ["a", "b", "a#2"]
    assert graph.output.inputs == ("a", "b", "a#2")


def test_by_default_a_node_reads_every_node_of_the_layer_before() -> None:
    graph = compiled(
        {"layers": [{"proposers": ["a", "b"]}, {"proposers": ["c", "d"]}], "aggregator": "e"}
    )
    assert [node.inputs for node in graph.layers[0].nodes] == [(), ()]
    assert [node.inputs for node in graph.layers[1].nodes] == [("a", "b"), ("a", "b")]
    assert graph.output.inputs == ("c", "d")


def test_the_quorum_is_all_answers_unless_it_is_set() -> None:
    layer = {"nodes": {"x": {"model": "a", "samples": 3}, "y": {"model": "b"}}}
    assert compiled({"layers": [layer], "aggregator": "c"}).layers[0].quorum == 4


def test_a_node_keeps_its_own_parameters() -> None:
    layer = {"nodes": {"x": {"model": "a", "temperature": 0.7, "max_tokens": 9}}}
    node = compiled({"layers": [layer], "aggregator": "c"}).layers[0].nodes[0]
    assert dict(node.params) == {"temperature": 0.7, "max_tokens": 9}


@pytest.mark.parametrize(
    ("graph", "path", "says"),
    [
        (
            {"layers": [{"proposers": ["a", "nope"]}], "aggregator": "c"},
            "graphs.g.layers[0].proposers",
            "there are: a, b, c, d, e, f",
        ),
        ({"layers": [{"proposers": ["a"]}], "aggregator": "x"}, "graphs.g.aggregator", "'x'"),
        (
            {"layers": [{"proposers": ["a"]}], "output": {"model": "b", "fallback": ["x"]}},
            "graphs.g.output.fallback[0]",
            "'x'",
        ),
        (
            {"layers": [{"proposers": ["a", "b"], "quorum": 3}], "aggregator": "c"},
            "graphs.g.layers[0].quorum",
            "found 3, but the layer gives 2 answers at most",
        ),
        (
            {"layers": [{"nodes": {"x": {"model": "a", "inputs": ["y"]}}}], "aggregator": "c"},
            "graphs.g.layers[0].nodes.x.inputs[0]",
            "none, this is the first layer",
        ),
        (
            {
                "layers": [
                    {"nodes": {"x": {"model": "a"}}},
                    {"nodes": {"y": {"model": "b", "inputs": ["z"]}, "z": {"model": "c"}}},
                ],
                "aggregator": "c",
            },
            "graphs.g.layers[1].nodes.y.inputs[0]",
            "expected a node of an earlier layer: x",
        ),
        (
            {
                "layers": [{"nodes": {"x": {"model": "a"}}}],
                "output": {"model": "b", "inputs": ["x", "x"]},
            },
            "graphs.g.output.inputs",
            "twice",
        ),
        (
            {
                "layers": [{"nodes": {"x": {"model": "a"}}}, {"nodes": {"x": {"model": "b"}}}],
                "aggregator": "c",
            },
            "graphs.g.layers[1].nodes.x",
            "unique",
        ),
        (
            {"layers": [{"nodes": {"output": {"model": "a"}}}], "aggregator": "c"},
            "graphs.g.layers[0].nodes.output",
            "output node",
        ),
        (
            {
                "layers": [{"nodes": {"x": {"model": "a"}, "y": {"model": "b"}}}],
                "output": {"model": "c", "inputs": ["x"]},
            },
            "graphs.g.layers[0].nodes.y",
            "nothing reads",
        ),
    ],
)
def test_a_wrong_graph_is_refused_with_path_and_accepted_values(
    graph: dict[str, Any], path: str, says: str
) -> None:
    error = refusal(graph)
    assert error.path == path
    assert says in error.message


def test_an_unknown_model_is_told_the_one_that_was_probably_meant() -> None:
    graph = {"layers": [{"proposers": ["llama-lrge"]}], "aggregator": "a"}
    models = {name: FakeModel(name) for name in ("a", "llama-large")}
    with pytest.raises(ConfigError, match=r"did you mean 'llama-large'\? there are: a, "):
        build({"g": graph}, models)


def test_graphs_in_a_circle_are_refused_with_the_circle() -> None:
    error = refusal(
        {"layers": [{"proposers": ["h"]}], "aggregator": "a"},
        h={"layers": [{"proposers": ["a"]}], "aggregator": "g"},
    )
    assert "g → h → g" in error.message


def test_a_graph_that_uses_itself_is_refused() -> None:
    assert "g → g" in refusal({"layers": [{"proposers": ["g"]}], "aggregator": "a"}).message


def test_a_graph_may_be_used_before_it_is_written() -> None:
    inner = {"layers": [{"proposers": ["a", "b"]}], "aggregator": "c"}
    outer = {"layers": [{"proposers": ["inner", "d"]}], "aggregator": "inner"}
    graphs = build({"outer": outer, "inner": inner}, MODELS)
    assert list(graphs) == ["outer", "inner"]
    assert depth(graphs["outer"].graph) == 2
    assert worst_case_calls(graphs["outer"].graph) == 3 + 1 + 3
    assert critical_path(graphs["outer"].graph) == 2 + 2


def test_more_calls_than_allowed_are_refused() -> None:
    layer = {"nodes": {"x": {"model": "a", "samples": 64}}}
    assert "65 upstream calls" in refusal({"layers": [layer], "aggregator": "b"}).message


def test_fallbacks_count_as_calls() -> None:
    graph = {
        "layers": [{"nodes": {"x": {"model": "a", "samples": 2, "fallback": ["b"]}}}],
        "output": {"model": "c", "fallback": ["d", "e"]},
    }
    assert worst_case_calls(compiled(graph)) == 2 * 2 + 3


def test_deeper_nesting_than_allowed_is_refused() -> None:
    graphs = {
        "one": {"layers": [{"proposers": ["a"]}], "aggregator": "a"},
        "two": {"layers": [{"proposers": ["one"]}], "aggregator": "a"},
    }
    with pytest.raises(ConfigError, match="nest 2 deep"):
        build(graphs, MODELS, LimitsSpec(max_depth=1))


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4), min_size=1, max_size=4)
)
def test_any_short_form_compiles_to_as_many_calls_as_it_names(layers: list[list[str]]) -> None:
    graph = compiled({"layers": [{"proposers": names} for names in layers], "aggregator": "a"})
    assert worst_case_calls(graph) == sum(map(len, layers)) + 1
    assert critical_path(graph) == len(layers) + 1
    assert all(layer.quorum == layer.size for layer in graph.layers)


def test_more_references_than_the_output_can_see_are_refused_at_load() -> None:
    error = refusal({"layers": [{"proposers": ["a"]}], "aggregator": "b", "min_references": 2})
    assert error.path == "graphs.g.min_references"
    assert "sees 1 references at most" in error.message


def test_a_long_chain_of_graphs_is_refused_and_breaks_nothing() -> None:
    chain = {
        f"g{number}": {"layers": [{"proposers": [f"g{number + 1}"]}], "aggregator": "a"}
        for number in range(2000)
    }
    chain["g2000"] = {"layers": [{"proposers": ["a"]}], "aggregator": "a"}
    with pytest.raises(ConfigError, match="nest 4 deep"):
        build(chain, MODELS)
